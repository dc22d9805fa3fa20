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
};

struct Sum {
  double value;
  __device__ void add(const Sum& s) { value += s.value; }
  __device__ Sum of_lane(int lanes_down) const {
    return {__shfl_down_sync(~0u, value, lanes_down)};
  }
};

// All of the block's, in every thread
template <class T>
__device__ T of_block(T mine) {
  __shared__ T of_warps[32];
  for (int lanes = 16; lanes; lanes /= 2) mine.add(mine.of_lane(lanes));
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = mine;
  __syncthreads();
  T all = of_warps[0];
  for (int i = 1; i < blockDim.x / 32; i++) all.add(of_warps[i]);
  return all;
}

// So many numbers, a thread for each
inline unsigned for_each(I total) { return (total + 255) / 256; }

}  // namespace blocks
