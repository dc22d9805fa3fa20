// CUDA's device language for g++ -fsanitize=thread, as far as operators/kernels/cuda uses it: stands in
// for CUDA's header of this name. The other half is runtime.cpp.
#pragma once

#include <cmath>
#include <cstddef>

#define __global__
#define __device__
#define __launch_bounds__(...)
#define __shared__ static  // one block at a time

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace race {

struct Here {
  dim3 thread, block, threads, blocks;
};
extern Here here;

void launch(const char* kernel, dim3 blocks, dim3 threads, void (*body)(void*), void* with);
void sync_block(), sync_warp();
void exchange(const void* mine, void* other, size_t size, int lane);  // no barrier for memory

template <class T>
T of_lane(T mine, int lane) {
  T other;
  exchange(&mine, &other, sizeof(T), lane);
  return other;
}

template <class Kernel>
struct Launch {
  const char* name;
  Kernel kernel;
  dim3 blocks, threads;

  template <class... A>
  void operator()(A... a) const {
    auto body = [&] { kernel(a...); };
    launch(name, blocks, threads, [](void* f) { (*(decltype(body)*)f)(); }, &body);
  }
};

// What launch.cuh makes of a launch
template <class Kernel>
Launch<Kernel> of(const char* name, Kernel kernel, dim3 blocks, dim3 threads) {
  return {name, kernel, blocks, threads};
}

}  // namespace race

#define threadIdx race::here.thread
#define blockIdx race::here.block
#define blockDim race::here.threads
#define gridDim race::here.blocks

inline void __syncthreads() { race::sync_block(); }
inline void __syncwarp(unsigned = ~0u) { race::sync_warp(); }
template <class T>
T __shfl_down_sync(unsigned, T mine, int down) {
  const int lane = threadIdx.x % 32;
  return race::of_lane(mine, lane + down < 32 ? lane + down : lane);
}
template <class T>
T __shfl_xor_sync(unsigned, T mine, int mask) {
  return race::of_lane(mine, threadIdx.x % 32 ^ mask);
}
template <class T>
T __shfl_sync(unsigned, T mine, int lane) {
  return race::of_lane(mine, lane % 32);
}
inline int min(int a, int b) { return a < b ? a : b; }
inline long long min(long long a, long long b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
