// Included before every source that "nvcc" compiles: CUDA's device language for g++, one thread at
// a time. The host side is the real header, the runtime libcudart is src/cudart.cpp.
#pragma once
#include <cuda_runtime.h>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <type_traits>

struct EmuState {
  uint3 thread, block;
  dim3 block_dim, grid_dim;
};
extern "C" {
extern EmuState emu_state;
void emu_sync(int kind);               // 0 the block's threads, 1 the warp's
unsigned long long* emu_warp_slots();  // 32 of this thread's warp, others the next time
unsigned emu_warp_active();            // lanes that still run
void emu_check_pointer(const char* kernel, const void* p, int number);
}
void emu_launch(
    const char* kernel, dim3 grid, dim3 block, size_t shared, std::function<void()> body);
void emu_enqueue(std::function<void()> work);

#undef __shared__
#undef __global__
#undef __device__
#undef __constant__
#undef __launch_bounds__
#define __shared__ static
#define __global__
#define __device__
#define __constant__ static
#define __launch_bounds__(...)
#define threadIdx (::emu_state.thread)
#define blockIdx (::emu_state.block)
#define blockDim (::emu_state.block_dim)
#define gridDim (::emu_state.grid_dim)
constexpr int warpSize = 32;
#define CUDA_ARCH 900

#define EMU_NAME(...) #__VA_ARGS__

namespace emu {
template <class T>
void check(const char* kernel, T* p, int number) {
  emu_check_pointer(kernel, (const void*)p, number);
}
template <class T>
void check(const char*, const T&, int) {}

// name<<<grid, block, shared, stream>>>(arguments)
struct Launch {
  const char* kernel;
  dim3 grid, block;
  size_t shared;
  Launch(const char* kernel, dim3 grid, dim3 block, size_t shared = 0, cudaStream_t = 0)
      : kernel(kernel), grid(grid), block(block), shared(shared) {}
  template <class F, class... A>
  void operator()(F f, A... a) const {
    int number = 0;
    int unused[] = {0, (check(kernel, a, number++), 0)...};
    (void)unused;
    emu_launch(kernel, grid, block, shared, [=]() { f(a...); });
  }
};

template <class To, class From>
To bits(From x) {
  static_assert(sizeof(To) == sizeof(From), "");
  To y;
  memcpy(&y, &x, sizeof(To));
  return y;
}
template <class T>
T shuffle(T value, int source, bool valid) {
  const int lane = emu_state.thread.x % 32;  // blocks of one dimension
  auto* slots = emu_warp_slots();
  memcpy(&slots[lane], &value, sizeof(T));
  emu_sync(1);
  T result = value;
  if (valid) memcpy(&result, &slots[source & 31], sizeof(T));
  return result;
}
}  // namespace emu

inline void __syncthreads() { emu_sync(0); }
inline void __syncwarp(unsigned = ~0u) { emu_sync(1); }
inline void __threadfence() {}
inline void __threadfence_block() {}
template <class T>
T __shfl_sync(unsigned, T v, int source, int width = 32) {
  const int lane = emu_state.thread.x % 32;
  return emu::shuffle(v, lane / width * width + source % width, true);
}
template <class T>
T __shfl_up_sync(unsigned, T v, unsigned d, int width = 32) {
  const int lane = emu_state.thread.x % 32;
  return emu::shuffle(v, lane - (int)d, lane % width >= (int)d);
}
template <class T>
T __shfl_down_sync(unsigned, T v, unsigned d, int width = 32) {
  const int lane = emu_state.thread.x % 32;
  return emu::shuffle(v, lane + (int)d, lane % width + (int)d < width);
}
template <class T>
T __shfl_xor_sync(unsigned, T v, int mask, int width = 32) {
  const int lane = emu_state.thread.x % 32;
  return emu::shuffle(v, lane ^ mask, true);
}
inline unsigned __ballot_sync(unsigned, int x) {
  const int lane = emu_state.thread.x % 32;
  auto* slots = emu_warp_slots();
  slots[lane] = x != 0;
  emu_sync(1);
  unsigned r = 0;
  for (int i = 0; i < 32; i++) r |= (emu_warp_active() >> i & 1) && slots[i] ? 1u << i : 0;
  emu_sync(1);
  return r;
}

// Atomics: threads run one after another
#define EMU_ATOMIC(name, expression) \
  template <class T, class U>        \
  T name(T* a, U u) {                \
    const T old = *a, b = (T)u;      \
    *a = (expression);               \
    return old;                      \
  }
EMU_ATOMIC(atomicAdd, old + b)
EMU_ATOMIC(atomicSub, old - b)
EMU_ATOMIC(atomicMax, old > b ? old : b)
EMU_ATOMIC(atomicMin, old < b ? old : b)
EMU_ATOMIC(atomicAnd, old& b)
EMU_ATOMIC(atomicOr, old | b)
EMU_ATOMIC(atomicXor, old ^ b)
EMU_ATOMIC(atomicExch, b)
#undef EMU_ATOMIC
template <class T, class U, class V>
T atomicCAS(T* a, U compare, V value) {
  const T old = *a;
  if (old == (T)compare) *a = (T)value;
  return old;
}

inline int __float_as_int(float x) { return emu::bits<int>(x); }
inline float __int_as_float(int x) { return emu::bits<float>(x); }
inline long long __double_as_longlong(double x) { return emu::bits<long long>(x); }
inline double __longlong_as_double(long long x) { return emu::bits<double>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
template <class T>
T __ldg(const T* p) {
  return *p;
}
#if !defined(__CUDA_FP16_H__)
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
#endif

using std::isfinite;
using std::isinf;
using std::isnan;

// max and min of the device ignore NaN
namespace emu {
template <class A, class B>
using number = typename std::enable_if<std::is_arithmetic<A>::value && std::is_arithmetic<B>::value,
    typename std::common_type<A, B>::type>::type;
template <class T>
T larger(T a, T b, std::true_type) {
  return std::fmax(a, b);
}
template <class T>
T larger(T a, T b, std::false_type) {
  return a > b ? a : b;
}
template <class T>
T smaller(T a, T b, std::true_type) {
  return std::fmin(a, b);
}
template <class T>
T smaller(T a, T b, std::false_type) {
  return a < b ? a : b;
}
}  // namespace emu
template <class A, class B>
emu::number<A, B> max(A a, B b) {
  using T = emu::number<A, B>;
  return emu::larger<T>(a, b, std::is_floating_point<T>());
}
template <class A, class B>
emu::number<A, B> min(A a, B b) {
  using T = emu::number<A, B>;
  return emu::smaller<T>(a, b, std::is_floating_point<T>());
}
