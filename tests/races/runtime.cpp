// Runs kernels on the CPU, each of a block's threads a fiber, and watches every access to memory:
// g++ -fsanitize=thread compiles the kernels to call __tsan_read4(address) and the like before each.
// They are not ThreadSanitizer's here but those below, for a GPU's rules are simpler than C++'s: of
// two threads' accesses, one of which writes, a barrier of their block has to be between them.
// Threads of two blocks are never ordered, kernels always; shuffles order no memory.

#include "runtime.h"

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "cuda_runtime.h"

namespace race {

Here here;
bool reversed;
int found;

namespace {

typedef uintptr_t Address;
const size_t STACK = 64 << 10, GAP = 4096, ARENA = size_t(1) << 30;

struct Access {
  unsigned launch, block, thread, barriers, warp_barriers;
  Address from;
};

struct Cell {  // of four bytes
  bool written = false;
  Access write;
  std::vector<Access> reads;  // since
};

struct Array {
  Address begin;
  size_t count;
  bool output;
  std::vector<Cell> cells;
};

enum State { RUNS, AT_WARP, AT_BLOCK, ENDED };

struct Fiber {
  ucontext_t context;
  State state;
  unsigned warp_barriers;
  int exchanges;
};

char *arena, *stacks;
size_t used;
std::vector<Array> arrays;
std::unordered_map<Address, Cell> shared;
std::set<std::tuple<const char*, Address, Address>> told;  // what, where, and where the other is
const char *kernel = nullptr, *operation = "";
std::vector<Fiber> fibers;
ucontext_t scheduler;
Fiber* current;
unsigned barriers, launches;
double slots[2][32][32];
void (*body)(void*);
void* with;

char* memory(size_t size) {
  void* p = mmap(
      nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) perror("mmap"), exit(2);
  return (char*)p;
}

// File and line of an address in the program
std::string place(Address address) {
  char command[128], line[512] = "?";
  snprintf(command, sizeof command, "addr2line -e /proc/%d/exe %zx", getpid(), address - 1);
  if (FILE* f = popen(command, "r")) {
    if (fgets(line, sizeof line, f)) line[strcspn(line, " \n")] = 0;
    pclose(f);
  }
  const char* slash = strrchr(line, '/');
  return slash ? slash + 1 : line;
}

// Once for each pair of lines
void report(const char* what, const Access* a = nullptr, const Access* b = nullptr) {
  if (!told.insert({what, a ? a->from : (Address)kernel, b ? b->from : 0}).second) return;
  found++;
  printf("%s, %s: %s", operation, kernel, what);
  for (const Access* each : {a, b})
    if (each)
      printf("; %s, block %u, thread %u", place(each->from).c_str(), each->block, each->thread);
  printf("\n");
}

bool ordered(const Access& first, const Access& second) {
  if (first.launch != second.launch) return true;
  if (first.block != second.block) return false;
  if (first.thread == second.thread || first.barriers < second.barriers) return true;
  return first.thread / 32 == second.thread / 32 && first.warp_barriers < second.warp_barriers;
}

void touch(Cell& cell, const Access& access, bool write, bool initialised) {
  if (cell.written && !ordered(cell.write, access))
    report(write ? "race, two write" : "race, one writes, one reads", &cell.write, &access);
  if (!write) {
    if (!cell.written && !initialised) report("reads what nobody has written", &access);
    const bool new_reader = cell.reads.empty() || cell.reads.back().thread != access.thread ||
        cell.reads.back().block != access.block || cell.reads.back().launch != access.launch;
    if (new_reader) cell.reads.push_back(access);
    else cell.reads.back() = access;
    return;
  }
  for (const Access& read : cell.reads)
    if (!ordered(read, access)) report("race, one reads, one writes", &read, &access);
  cell.reads.clear();
  cell.written = true;
  cell.write = access;
}

extern "C" char __data_start, _end;

void access(const void* p, size_t size, bool write, const void* from) {
  const Address address = (Address)p;
  if (!current || address - (Address)&here < sizeof here) return;
  const Access a = {launches, here.block.x + here.block.y * here.blocks.x, here.thread.x, barriers,
      current->warp_barriers, (Address)from};
  if (address - (Address)arena < ARENA) {
    static size_t last = 0;
    for (size_t i = 0; i <= arrays.size(); i++) {
      Array& array = arrays[i ? i - 1 : last % arrays.size()];
      if (address < array.begin || address + size > array.begin + array.count * 4) continue;
      for (size_t k = 0; k < size; k += 4)
        touch(array.cells[(address + k - array.begin) / 4], a, write, !array.output);
      if (write && !array.output) report("writes an input", &a);
      last = i ? i - 1 : last;
      return;
    }
    report("accesses what is outside of all arrays", &a);
  } else if (p >= (void*)&__data_start && p < (void*)&_end) {
    for (size_t k = 0; k < size; k += 4) touch(shared[(address + k) / 4], a, write, false);
  }
}

void wait(State state) {
  Fiber* mine = current;
  mine->state = state;
  swapcontext(&mine->context, &scheduler);
}

void run_fiber() {
  body(with);
  wait(ENDED);
}

void resume(unsigned i) {
  current = &fibers[i];
  here.thread = dim3(i, 0, 0);
  swapcontext(&scheduler, &current->context);
  current = nullptr;
}

// Whether all of these threads wait for one another; then they go on
bool release_all(unsigned begin, unsigned end, State state) {
  for (unsigned i = begin; i < end; i++)
    if (fibers[i].state != state) return false;
  for (unsigned i = begin; i < end; i++) fibers[i].state = RUNS;
  return true;
}

void run_block(unsigned threads) {
  shared.clear();
  barriers = 0;
  for (unsigned i = 0; i < threads; i++) {
    Fiber& f = fibers[i];
    f.state = RUNS, f.warp_barriers = f.exchanges = 0;
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = stacks + i * STACK;
    f.context.uc_stack.ss_size = STACK;
    makecontext(&f.context, run_fiber, 0);
  }
  for (unsigned ended = 0; ended < threads;) {
    bool moves = false;
    for (unsigned n = 0; n < threads; n++) {
      const unsigned i = reversed ? threads - 1 - n : n;
      if (fibers[i].state != RUNS) continue;
      moves = true;
      resume(i);
      ended += fibers[i].state == ENDED;
    }
    for (unsigned i = 0; i < threads; i += 32) moves |= release_all(i, i + 32, AT_WARP);
    if (release_all(0, threads, AT_BLOCK)) moves = true, barriers++;
    if (ended < threads && !moves) return report("threads wait for ones that never come");
  }
}

}  // namespace

// Tells of each once
void ran(const char* name) {
  static std::set<std::string> before;
  const char* colon = strrchr(name, ':');
  if (before.insert(name = colon ? colon + 1 : name).second) printf("ran %s\n", name);
}

void launch(const char* name, dim3 blocks, dim3 threads, void (*f)(void*), void* arguments) {
  ran(name), launches++;
  kernel = name, body = f, with = arguments;
  here.blocks = blocks, here.threads = threads;
  if (blocks.x < 1 || blocks.x > 0x7fffffff || blocks.y < 1 || blocks.y > 65535 || blocks.z != 1 ||
      threads.x < 32 || threads.x > 1024 || threads.x % 32 || threads.y * threads.z != 1)
    return report("not whole warps, or beyond the limits of a launch");
  fibers.resize(1024);
  if (!stacks) stacks = memory(1024 * STACK);
  const unsigned count = blocks.x * blocks.y;
  for (unsigned n = 0; n < count; n++) {
    const unsigned i = reversed ? count - 1 - n : n;
    here.block = dim3(i % blocks.x, i / blocks.x, 0);
    run_block(threads.x);
  }
}

void sync_block() { wait(AT_BLOCK); }

void sync_warp() {
  wait(AT_WARP);
  current->warp_barriers++;
}

void exchange(const void* mine, void* other, size_t size, int lane) {
  const unsigned thread = here.thread.x;
  double(&places)[32] = slots[current->exchanges++ % 2][thread / 32];
  memcpy(&places[thread % 32], mine, size);
  wait(AT_WARP);
  memcpy(other, &places[lane], size);
}

float* array(size_t count, bool written) {
  if (!arena) arena = memory(ARENA);
  used += GAP;
  float* p = (float*)(arena + used);
  arrays.push_back({(Address)p, count, written, std::vector<Cell>(count)});
  used += (count * 4 + GAP - 1) / GAP * GAP;
  if (used + GAP > ARENA) fprintf(stderr, "too many arrays\n"), exit(2);
  return p;
}

void begin(const char* name) {
  ran(operation = name);
  for (Array& array : arrays) array.cells.assign(array.count, Cell());
}

void end() {
  for (const Array& array : arrays)
    for (const Cell& cell : array.cells)
      if (array.output && !cell.written) return report("leaves some of a result unwritten");
}

void release() {
  arrays.clear();
  used = 0;
}

}  // namespace race

#define CALLER __builtin_return_address(0)
#define WATCH(n)                                                               \
  void __tsan_read##n(void* p) { race::access(p, n, false, CALLER); }           \
  void __tsan_write##n(void* p) { race::access(p, n, true, CALLER); }           \
  void __tsan_unaligned_read##n(void* p) { race::access(p, n, false, CALLER); } \
  void __tsan_unaligned_write##n(void* p) { race::access(p, n, true, CALLER); }
extern "C" {
WATCH(1)
WATCH(2)
WATCH(4)
WATCH(8)
WATCH(16)
void __tsan_read_range(void* p, size_t n) { race::access(p, n, false, CALLER); }
void __tsan_write_range(void* p, size_t n) { race::access(p, n, true, CALLER); }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
}
