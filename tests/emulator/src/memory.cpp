// Part of libcudart: device memory in an address range of its own, and copies.
//
//   EMU_GUARD=1    allocations end at an unmapped page and are never reused; fresh memory is NaN
//   EMU_PROTECT=1  the host cannot touch device memory: it is mapped while kernels or copies run
#include <sys/mman.h>

#include <cstdlib>
#include <map>

#include "emu.h"
#include "runtime.h"

namespace {
const size_t PAGE = 4096, REGION = size_t(1) << 42;  // 4 TB of addresses
char* const BASE = (char*)0x600000000000;
const bool GUARD = emu_set("EMU_GUARD"), PROTECT = emu_set("EMU_PROTECT");
const size_t TOTAL = size_t(getenv("EMU_MEMORY_GB") ? atoi(getenv("EMU_MEMORY_GB")) : 80) << 30;
using Guard = std::lock_guard<std::recursive_mutex>;

struct Block {
  char* pages;
  size_t page_bytes, size;
};
struct Memory {
  std::map<char*, Block> device;       // by the pointer that was handed out
  std::map<char*, size_t> host;        // pinned and managed
  std::multimap<size_t, char*> freed;  // page ranges for reuse
  char* next = nullptr;
  size_t used = 0;
};
// never destroyed: Jittor frees until the very end
Memory& memory() {
  static Memory* m = new Memory;
  return *m;
}
int reaching = 0;  // depth of emu_reach

// Bytes from p to the end of the allocation that it lies in, of those that `size` tells
template <class Allocations, class Size>
size_t room(Allocations& allocations, char* p, Size size) {
  auto it = allocations.upper_bound(p);
  if (it == allocations.begin()) return 0;
  --it;
  const size_t offset = p - it->first, bytes = size(it->second);
  return offset < bytes ? bytes - offset : 0;
}
}  // namespace

bool emu_on_device(const void* p) { return (char*)p >= BASE && (char*)p < BASE + REGION; }

void emu_reach(bool possible) {
  const bool changes = possible ? !reaching++ : !--reaching;
  if (!PROTECT || !changes) return;
  for (auto& kv : memory().device)
    mprotect(kv.second.pages, kv.second.page_bytes, possible ? PROT_READ | PROT_WRITE : PROT_NONE);
}

size_t emu_room(const void* pointer) {
  Guard guard(emu_lock());
  char* p = (char*)pointer;
  if (emu_on_device(p)) return room(memory().device, p, [](const Block& b) { return b.size; });
  return room(memory().host, p, [](size_t size) { return size; });
}

void emu_need(const char* who, const char* what, const void* p, size_t bytes) {
  if (bytes && emu_room(p) < bytes)
    emu_fail("%s: %s at %p needs %zu bytes, has %zu", who, what, p, bytes, emu_room(p));
}

void emu_check_pointer(const char* kernel, const void* p, int number) {
  if (!p || p == (void*)0x10) return;  // Jittor's pointer to nothing
  if (!emu_room(p)) emu_fail("kernel %s: argument %d, %p, is no device memory", kernel, number, p);
}

extern "C" {

cudaError_t cudaMalloc(void** p, size_t size) {
  Guard guard(emu_lock());
  auto& m = memory();
  if (!m.next) {
    m.next = (char*)mmap(BASE, REGION, PROT_NONE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (m.next != BASE) emu_fail("no address range for device memory");
  }
  if (!size) {
    *p = nullptr;
    return cudaSuccess;
  }
  if (m.used + size > TOTAL) return emu_error = cudaErrorMemoryAllocation;
  const size_t bytes = (size + PAGE - 1) / PAGE * PAGE;
  char* pages;
  auto it = m.freed.find(bytes);
  if (!GUARD && it != m.freed.end()) {
    pages = it->second;
    m.freed.erase(it);
  } else {
    pages = m.next;
    m.next += bytes + PAGE;  // a page that is never mapped
  }
  mprotect(pages, bytes, PROT_READ | PROT_WRITE);
  if (GUARD) memset(pages, 0xff, bytes);
  if (PROTECT && !reaching) mprotect(pages, bytes, PROT_NONE);
  char* start = GUARD ? pages + bytes - (size + 15) / 16 * 16 : pages;
  m.device[start] = Block{pages, bytes, GUARD ? (size + 15) / 16 * 16 : size};
  m.used += size;
  emu_count("cudaMalloc");
  *p = start;
  return cudaSuccess;
}
cudaError_t cudaFree(void* p) {
  emu_wait();
  Guard guard(emu_lock());
  if (!p) return cudaSuccess;
  auto& m = memory();
  auto managed = m.host.find((char*)p);
  if (managed != m.host.end()) {
    m.host.erase(managed);
    free(p);
    return cudaSuccess;
  }
  auto it = m.device.find((char*)p);
  if (it == m.device.end()) emu_fail("cudaFree(%p): not allocated", p);
  const Block b = it->second;
  m.device.erase(it);
  m.used -= std::min(m.used, b.size);
  madvise(b.pages, b.page_bytes, MADV_DONTNEED);
  mprotect(b.pages, b.page_bytes, PROT_NONE);
  m.freed.emplace(b.page_bytes, b.pages);
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** p, size_t size) {
  Guard guard(emu_lock());
  if (posix_memalign(p, PAGE, size ? size : 1)) return cudaErrorMemoryAllocation;
  memory().host[(char*)*p] = size;
  return cudaSuccess;
}
cudaError_t cudaMallocManaged(void** p, size_t size, unsigned) { return cudaMallocHost(p, size); }
cudaError_t cudaFreeHost(void* p) {
  emu_wait();
  Guard guard(emu_lock());
  if (p && !memory().host.erase((char*)p)) emu_fail("cudaFreeHost(%p): not allocated", p);
  free(p);
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* rest, size_t* total) {
  *total = TOTAL;
  *rest = TOTAL - memory().used;
  return cudaSuccess;
}

static void check_copy(const char* who, void* to, const void* from, size_t n, cudaMemcpyKind kind) {
  const bool to_device = emu_on_device(to), from_device = emu_on_device(from);
  if (kind != cudaMemcpyDefault && n) {
    const bool want_to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool want_from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (want_to != to_device || want_from != from_device)
      emu_fail("%s: kind %d does not fit %p <- %p", who, kind, to, from);
  }
  if (to_device) emu_need(who, "destination", to, n);
  if (from_device) emu_need(who, "source", from, n);
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t n, cudaMemcpyKind kind) {
  emu_wait();
  check_copy("cudaMemcpy", to, from, n, kind);
  emu_count("cudaMemcpy");
  Guard guard(emu_lock());
  emu_reach(true);
  memmove(to, from, n);
  emu_reach(false);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(
    void* to, const void* from, size_t n, cudaMemcpyKind kind, cudaStream_t) {
  check_copy("cudaMemcpyAsync", to, from, n, kind);
  emu_count("cudaMemcpyAsync");
  if (!emu_on_device(from) && !emu_room(from)) {  // pageable: taken at once
    std::string staged((const char*)from, n);
    emu_enqueue([=]() { memcpy(to, staged.data(), n); });
  } else {
    emu_enqueue([=]() { memmove(to, from, n); });
    if (!emu_on_device(to) && !emu_room(to)) emu_wait();
  }
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* p, int value, size_t n, cudaStream_t) {
  emu_need("cudaMemsetAsync", "destination", p, n);
  emu_enqueue([=]() { memset(p, value, n); });
  return cudaSuccess;
}
cudaError_t cudaMemset(void* p, int value, size_t n) { return cudaMemsetAsync(p, value, n, 0); }
}
