// What follows the gradients: Adam and the running average, in place, over all parameters.

#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include "pool.h"

namespace kernels {

const I PART = 16384;  // numbers that a thread takes at a time

// f(array, begin, end) for parts of several arrays
template <class F>
inline void share_arrays(I count, const I* sizes, const F& f) {
  std::vector<I> array, begin;
  for (I i = 0; i < count; i++)
    for (I at = 0; at < sizes[i]; at += PART) array.push_back(i), begin.push_back(at);
  Pool::get().share(array.size(), [&](I i) {
    f(array[i], begin[i], std::min(sizes[array[i]], begin[i] + PART));
  });
}

const I BLOCK = 64;

// v <- beta2 v + (1 - beta2) g^2, p <- p - rate g / (sqrt(v) scale + eps) for BLOCK numbers. Not part
// of a loop, whose last few numbers may be rounded otherwise than its vectors.
__attribute__((noinline)) inline void adam_block(
    float* p, float* v, const float* g, float rate, float scale, float beta2, float eps) {
  for (I i = 0; i < BLOCK; i++) {
    const float d = g[i], m = v[i] = beta2 * v[i] + (1 - beta2) * d * d;
    p[i] -= rate * d / (std::sqrt(m) * scale + eps);
  }
}

inline void adam(I count, const I* sizes, float* const* p, float* const* v, const float* const* g,
    const float* rates, const float* corrections, float beta2, float eps) {
  share_arrays(count, sizes, [&](I array, I i, I end) {
    const float rate = rates[array], scale = 1 / corrections[array];
    for (; i + BLOCK <= end; i += BLOCK)
      adam_block(p[array] + i, v[array] + i, g[array] + i, rate, scale, beta2, eps);
    if (i == end) return;
    float last[3][BLOCK] = {};
    const I bytes = (end - i) * sizeof(float);
    const float* from[] = {p[array], v[array], g[array]};
    for (int k = 0; k < 3; k++) std::memcpy(last[k], from[k] + i, bytes);
    adam_block(last[0], last[1], last[2], rate, scale, beta2, eps);
    std::memcpy(p[array] + i, last[0], bytes);
    std::memcpy(v[array] + i, last[1], bytes);
  });
}

// r <- r + (p - r) share
inline void average(I count, const I* sizes, float* const* r, const float* const* p, float part) {
  share_arrays(count, sizes, [&](I array, I i, I end) {
    float* running = r[array];
    const float* parameter = p[array];
    #pragma GCC ivdep
    for (; i < end; i++) running[i] += (parameter[i] - running[i]) * part;
  });
}

}  // namespace kernels
