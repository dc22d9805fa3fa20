// Sums of a block's threads, in a fixed order: no atomic additions, so that a run repeats itself.

#pragma once

#include <cuda_runtime.h>

namespace blocks {

typedef long long I;

// Of a block. Kernels that get so many say so, for the compiler to leave each registers enough
const int MOST_THREADS = 1024;

// Threads for a plane of so many numbers, whole warps
inline int threads_for(I size) {
  return size <= 128 ? 32 : size <= 1024 ? 128 : size <= 16384 ? 256 : MOST_THREADS;
}

// Moments of pairs (x, d) in one pass (Chan, Golub, LeVeque 1979): count, means, sums of
// (x - mean)^2 and of (x - mean) (d - mean of d)
struct Moments {
  float count, x, d, squares, products;

  __device__ void add(float value, float other) {
    count += 1;
    const float by = 1 / count, dx = value - x, dd = other - d;
    x += dx * by;
    d += dd * by;
    squares += dx * (value - x);
    products += dx * (other - d);
  }

  __device__ void add(const Moments& m) {
    const float all = count + m.count;
    if (all == 0) return;
    const float part = m.count / all, dx = m.x - x, dd = m.d - d;
    squares += m.squares + dx * dx * count * part;
    products += m.products + dx * dd * count * part;
    x += dx * part;
    d += dd * part;
    count = all;
  }

  __device__ Moments of_lane(int lanes_down) const {
    return {__shfl_down_sync(~0u, count, lanes_down), __shfl_down_sync(~0u, x, lanes_down),
        __shfl_down_sync(~0u, d, lanes_down), __shfl_down_sync(~0u, squares, lanes_down),
        __shfl_down_sync(~0u, products, lanes_down)};
  }
  __device__ Moments wide() const { return *this; }
};

// Of a block, in double: by its first warp alone, for few GPUs have many units for that
struct WideSum {
  double value;
  __device__ void add(const WideSum& s) { value += s.value; }
  __device__ WideSum of_lane(int lanes_down) const {
    return {__shfl_down_sync(~0u, value, lanes_down)};
  }
  __device__ operator float() const { return value; }
};

// Of a thread and of a warp
struct Sum {
  float value;
  __device__ void add(const Sum& s) { value += s.value; }
  __device__ Sum of_lane(int lanes_down) const {
    return {__shfl_down_sync(~0u, value, lanes_down)};
  }
  __device__ WideSum wide() const { return {value}; }
};

// All of the warp's, in its first thread
template <class T>
__device__ T of_warp(T mine) {
  for (int lanes = 16; lanes; lanes /= 2) mine.add(mine.of_lane(lanes));
  return mine;
}

// All of the block's, in every thread
template <class T>
__device__ auto of_block(T mine) -> decltype(mine.wide()) {
  typedef decltype(mine.wide()) Wide;
  __shared__ T of_warps[32];
  __shared__ Wide all;
  const int lane = threadIdx.x % 32;
  mine = of_warp(mine);
  if (lane == 0) of_warps[threadIdx.x / 32] = mine;
  __syncthreads();
  if (threadIdx.x < 32) {
    Wide warps = {};
    if (lane < blockDim.x / 32) warps = of_warps[lane].wide();
    warps = of_warp(warps);
    if (lane == 0) all = warps;
  }
  __syncthreads();
  return all;
}

// So many numbers, a thread for each
inline unsigned for_each(I total) { return (total + 255) / 256; }

// Where one block would have to add up more numbers than these, several do, each a part, so that few
// sums occupy a whole GPU too. What each has found is written behind the operator's results, where
// operators/native.py makes room for it (by these numbers, too), and added up by another kernel.
const int PART = 4096, PLANE = 16384;  // of a row of numbers, of a plane that is normalised

inline int parts_of(I numbers, int part) { return (numbers + part - 1) / part; }

// parts (n, count) -> (n)
__launch_bounds__(MOST_THREADS) __global__ void add_parts(const float* parts, float* to,
    int count) {
  Sum sum = {};
  for (int i = threadIdx.x; i < count; i += blockDim.x)
    sum.value += parts[blockIdx.x * (I)count + i];
  const float all = of_block(sum);
  if (threadIdx.x == 0) to[blockIdx.x] = all;
}

}  // namespace blocks
