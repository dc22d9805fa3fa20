// What follows the gradients: Adam and the running average, in place, over all parameters.

#pragma once

#include <cmath>
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

// v <- beta2 v + (1 - beta2) g^2, p <- p - rate g / (sqrt(v) / correction + eps)
inline void adam(I count, const I* sizes, float* const* p, float* const* v, const float* const* g,
    const float* rates, const float* corrections, float beta2, float eps) {
  share_arrays(count, sizes, [&](I array, I i, I end) {
    float *parameter = p[array], *moment = v[array];
    const float *gradient = g[array], rate = rates[array], scale = 1 / corrections[array];
    #pragma GCC ivdep
    for (; i < end; i++) {
      const float d = gradient[i], m = moment[i] = beta2 * moment[i] + (1 - beta2) * d * d;
      parameter[i] -= rate * d / (std::sqrt(m) * scale + eps);
    }
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
