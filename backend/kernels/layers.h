// What stands around the convolutions: activations, and the norm and style of the generator.

#pragma once

#include <cmath>

#include "pool.h"

namespace kernels {
namespace leaky {

// Slope 0.2 below zero.
inline float relu(float x) { return std::max(x, 0.2f * x); }
inline float slope(float y) { return y > 0 ? 1.f : 0.2f; }

// dy times 1 where y is positive, else 0.2
inline void slopes(const float* y, const float* dy, float* dx, I size) {
  share(size, 65536, [&](I i, I end) {
    for (; i < end; i++) dx[i] = dy[i] * slope(y[i]);
  });
}

// x (n, c, size), bias (c) -> relu(x + bias)
inline void forward(const float* x, const float* bias, float* y, I N, I C, I size) {
  share(N * C, std::max<I>(1, 16384 / size), [&](I first, I end) {
    for (I plane = first; plane < end; plane++) {
      const float b = bias[plane % C], *in = x + plane * size;
      float* out = y + plane * size;
      for (I i = 0; i < size; i++) out[i] = relu(in[i] + b);
    }
  });
}

// y as `forward` made it, dy -> dx (n, c, size), dbias (c)
inline void gradient(const float* y, const float* dy, float* dx, float* dbias, I N, I C, I size) {
  share(C, std::max<I>(1, 16384 / (N * size)), [&](I first, I end) {
    for (I c = first; c < end; c++) {
      double sum = 0;
      for (I n = 0; n < N; n++) {
        const I place = (n * C + c) * size;
        float part = 0;
        for (I i = place; i < place + size; i++) part += dx[i] = dy[i] * slope(y[i]);
        sum += part;
      }
      dbias[c] = sum;
    }
  });
}

// y, v of x and vbias of bias -> (v + vbias) slope: the derivative of `gradient` along dy
inline void second(const float* y, const float* v, const float* vbias, float* dy, I N, I C,
    I size) {
  share(N * C, std::max<I>(1, 16384 / size), [&](I first, I end) {
    for (I plane = first; plane < end; plane++) {
      const float b = vbias[plane % C];
      for (I i = plane * size; i < (plane + 1) * size; i++) dy[i] = (v[i] + b) * slope(y[i]);
    }
  });
}

}  // namespace leaky

// Leaky ReLU, instance norm, scale and shift per image and channel.
namespace styled {

// x (n, c, size), style (n, 2, c) of gamma and beta -> y
inline void forward(const float* x, const float* style, float* y, I N, I C, I size, float eps) {
  share(N * C, std::max<I>(1, 8192 / size), [&](I first, I end) {
    for (I plane = first; plane < end; plane++) {
      const float *in = x + plane * size, *gamma = style + plane / C * 2 * C + plane % C;
      float* out = y + plane * size;
      float sum = 0, squares = 0;
      for (I i = 0; i < size; i++) sum += out[i] = leaky::relu(in[i]);
      const float mean = sum / size;
      for (I i = 0; i < size; i++) squares += (out[i] - mean) * (out[i] - mean);
      const float scale = *gamma / std::sqrt(squares / size + eps), beta = gamma[C];
      for (I i = 0; i < size; i++) out[i] = scale * (out[i] - mean) + beta;
    }
  });
}

// x, style, dy -> dx, dstyle
inline void gradient(const float* x, const float* style, const float* dy, float* dx, float* dstyle,
    I N, I C, I size, float eps) {
  share(N * C, std::max<I>(1, 8192 / size), [&](I first, I end) {
    for (I plane = first; plane < end; plane++) {
      const float *in = x + plane * size, *d = dy + plane * size;
      const I gamma = plane / C * 2 * C + plane % C;
      float* out = dx + plane * size;
      float sum = 0, squares = 0, shift = 0, along = 0;
      for (I i = 0; i < size; i++) sum += out[i] = leaky::relu(in[i]);
      const float mean = sum / size;
      for (I i = 0; i < size; i++) {
        out[i] -= mean;
        squares += out[i] * out[i];
        shift += d[i];
        along += d[i] * out[i];
      }
      const float scale = 1 / std::sqrt(squares / size + eps);
      dstyle[gamma] = along * scale;
      dstyle[gamma + C] = shift;
      const float factor = style[gamma] * scale, a = along * scale * scale / size,
                  b = shift / size;
      for (I i = 0; i < size; i++)
        out[i] = factor * (d[i] - b - a * out[i]) * leaky::slope(in[i]);
    }
  });
}

}  // namespace styled
}  // namespace kernels
