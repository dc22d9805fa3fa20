// Part of libcudart: one queue for all streams, the device and its properties, events.
//
//   EMU_ASYNC=1  kernels and asynchronous copies run when something waits for them, not before
//   EMU_STATS=1  what ran, at the end
#include <unistd.h>

#include <cstdarg>
#include <cstdlib>
#include <deque>
#include <map>

#include "emu.h"
#include "runtime.h"

namespace {
const bool ASYNC = emu_set("EMU_ASYNC"), STATS = emu_set("EMU_STATS");
using Guard = std::lock_guard<std::recursive_mutex>;

// never destroyed: Jittor calls until the very end
std::deque<std::function<void()>>& waiting() {
  static auto* q = new std::deque<std::function<void()>>;
  return *q;
}
std::map<std::string, size_t>& counts() {
  static auto* c = new std::map<std::string, size_t>;
  return *c;
}
}  // namespace

cudaError_t emu_error = cudaSuccess;

bool emu_set(const char* variable) {
  const char* value = getenv(variable);
  return value && atoi(value);
}

std::recursive_mutex& emu_lock() {
  static auto* m = new std::recursive_mutex;
  return *m;
}

void emu_fail(const char* format, ...) {
  va_list args;
  va_start(args, format);
  fprintf(stderr, "\nEMULATOR: ");
  vfprintf(stderr, format, args);
  fprintf(stderr, "\n");
  va_end(args);
  fflush(stderr);
  abort();
}

void emu_count(const std::string& what) {
  if (!STATS) return;
  Guard guard(emu_lock());
  static const pid_t owner = getpid();  // children inherit the counts and do not print them
  if (counts().empty())
    atexit([] {
      if (getpid() != owner) return;
      for (auto& kv : counts()) fprintf(stderr, "EMULATOR: %8zu %s\n", kv.second, kv.first.c_str());
    });
  counts()[what]++;
}

void emu_enqueue(std::function<void()> work) {
  emu_enqueue_host([work]() {
    emu_reach(true);
    work();
    emu_reach(false);
  });
}

void emu_enqueue_host(std::function<void()> work) {
  Guard guard(emu_lock());
  waiting().push_back(work);
  if (!ASYNC) emu_wait();
}

void emu_wait() {
  Guard guard(emu_lock());
  static bool inside = false;
  if (inside) return;
  inside = true;
  while (!waiting().empty()) {
    auto work = std::move(waiting().front());
    waiting().pop_front();
    work();
  }
  inside = false;
}

extern "C" {

cudaError_t cudaDeviceSynchronize() {
  emu_wait();
  emu_count("cudaDeviceSynchronize");
  return cudaSuccess;
}
cudaError_t cudaDeviceReset() {
  emu_wait();
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* i) {
  *i = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int i) { return i ? cudaErrorInvalidDevice : cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* n) {
  *n = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
  memset(p, 0, sizeof *p);
  strcpy(p->name, "Emulated GPU");
  p->major = 9;
  if (const char* given = getenv("EMU_CAPABILITY")) sscanf(given, "%d.%d", &p->major, &p->minor);
  size_t rest;
  cudaMemGetInfo(&rest, &p->totalGlobalMem);
  p->multiProcessorCount = 132;
  p->warpSize = 32;
  p->maxThreadsPerBlock = 1024;
  p->sharedMemPerBlock = 48 << 10;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* v) {
  *v = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* v) {
  *v = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* s) {
  *s = (cudaStream_t) new int;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) { return cudaStreamCreate(s); }
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) {
  emu_wait();
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) {
  *e = (cudaEvent_t) new int;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* e) { return cudaEventCreateWithFlags(e, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) {
  emu_wait();
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t, cudaEvent_t) {
  *ms = 1;
  return cudaSuccess;
}
cudaError_t cudaLaunchHostFunc(cudaStream_t, cudaHostFn_t f, void* data) {
  emu_enqueue_host([=]() { f(data); });
  return cudaSuccess;
}
cudaError_t cudaStreamAddCallback(cudaStream_t s, cudaStreamCallback_t f, void* data, unsigned) {
  emu_enqueue_host([=]() { f(s, cudaSuccess, data); });
  return cudaSuccess;
}
cudaError_t cudaGetLastError() {
  auto e = emu_error;
  emu_error = cudaSuccess;
  return e;
}
cudaError_t cudaPeekAtLastError() { return emu_error; }
const char* cudaGetErrorName(cudaError_t e) { return e ? "cudaError (emulated)" : "cudaSuccess"; }
const char* cudaGetErrorString(cudaError_t e) { return cudaGetErrorName(e); }
}
