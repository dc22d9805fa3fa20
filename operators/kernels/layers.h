// What stands around the convolutions: activations, and the norm and style of the generator.

#pragma once

#include <cmath>

#include "pool.h"

namespace kernels {
namespace biased {

// Leaky ReLU, and its slope where it made y. A slope of 1 below zero: none.
inline float relu(float x, float slope = 0.2f) { return std::max(x, slope * x); }
inline float bent(float y, float slope = 0.2f) { return y > 0 ? 1.f : slope; }

// dy times the factor and the slope at y
inline void slopes(const float* y, const float* dy, float* dx, I size, float factor, float slope) {
  share(size, 65536, [&](I i, I end) {
    for (; i < end; i++) dx[i] = factor * dy[i] * bent(y[i], slope);
  });
}

// The same of single numbers, c side by side
inline void forward_rows(const float* x, const float* bias, float* y, I N, I C, float factor,
    float slope) {
  share(N, std::max<I>(1, 16384 / C), [&](I first, I end) {
    for (I n = first; n < end; n++) {
      const float* in = x + n * C;
      float* out = y + n * C;
      for (I c = 0; c < C; c++) out[c] = relu(factor * in[c] + bias[c], slope);
    }
  });
}

inline void gradient_rows(const float* y, const float* dy, float* dx, float* dbias, I N, I C,
    float factor, float slope) {
  share(C, std::max<I>(16, 16384 / N), [&](I first, I end) {
    std::fill(dbias + first, dbias + end, 0);
    for (I place = 0; place < N * C; place += C)
      for (I c = first; c < end; c++) {
        const float d = dy[place + c] * bent(y[place + c], slope);
        dbias[c] += d;
        dx[place + c] = factor * d;
      }
  });
}

// x (n, c, size), bias (c) -> relu(factor * x + bias)
inline void forward(const float* x, const float* bias, float* y, I N, I C, I size, float factor,
    float slope) {
  if (size == 1) return forward_rows(x, bias, y, N, C, factor, slope);
  share(N * C, std::max<I>(1, 16384 / size), [&](I first, I end) {
    for (I plane = first; plane < end; plane++) {
      const float b = bias[plane % C], *in = x + plane * size;
      float* out = y + plane * size;
      for (I i = 0; i < size; i++) out[i] = relu(factor * in[i] + b, slope);
    }
  });
}

// y as `forward` made it, dy -> dx (n, c, size), dbias (c)
inline void gradient(const float* y, const float* dy, float* dx, float* dbias, I N, I C, I size,
    float factor, float slope) {
  if (size == 1) return gradient_rows(y, dy, dx, dbias, N, C, factor, slope);
  share(C, std::max<I>(1, 16384 / (N * size)), [&](I first, I end) {
    for (I c = first; c < end; c++) {
      double sum = 0;
      for (I n = 0; n < N; n++) {
        const I place = (n * C + c) * size;
        float part = 0;
        for (I i = place; i < place + size; i++) {
          const float d = dy[i] * bent(y[i], slope);
          part += d;
          dx[i] = factor * d;
        }
        sum += part;
      }
      dbias[c] = sum;
    }
  });
}

}  // namespace biased

// Bias, noise, leaky ReLU, instance norm, scale and shift per image and channel.
namespace styled {

// A bias that was blurred with its image is weaker where zeros came in.
enum Bias { NONE, PLAIN, BLURRED };
inline float edge(I i, I size) { return 1 - 0.25f * (i == 0) - 0.25f * (i == size - 1); }

struct Layer {
  const float *x, *bias, *strength, *noise, *style;  // (n, c, h, w), (c), (c), (n, h, w), (n, 2, c)
  I N, C, H, W;
  float eps;
  Bias kind;
  float factor, weight;  // of x and of the noise's strength

  I size() const { return H * W; }
  // Of the plane's image, style's gamma; beta is C further.
  I gamma(I plane) const { return plane / C * 2 * C + plane % C; }
  const float* noise_of(I plane) const { return noise + plane / C * size(); }

  // The plane's activations, and their mean and 1 / deviation
  void activate(I plane, float* z, float& mean, float& scale) const {
    const float *from = x + plane * size(), *random = noise_of(plane);
    const float s = weight * strength[plane % C], b = kind == NONE ? 0 : bias[plane % C];
    const I rows = kind == BLURRED ? H : 1, length = size() / rows;
    float sum = 0, squares = 0;
    for (I r = 0; r < rows; r++) {
      const float whole = kind == BLURRED ? b * edge(r, H) : b;
      float* row = z + r * length;
      for (I i = 0, j = r * length; i < length; i++, j++)
        row[i] = factor * from[j] + s * random[j] + whole;
      if (kind == BLURRED) row[0] -= 0.25f * whole, row[length - 1] -= 0.25f * whole;
    }
    for (I i = 0; i < size(); i++) sum += z[i] = biased::relu(z[i]);
    mean = sum / size();
    for (I i = 0; i < size(); i++) squares += (z[i] - mean) * (z[i] - mean);
    scale = 1 / std::sqrt(squares / size() + eps);
  }

  // Sums of a plane's dx: what the bias and the noise's strength have of it
  void share_of(I plane, const float* dx, float& of_bias, float& of_strength) const {
    const float* random = noise_of(plane);
    const I rows = kind == BLURRED ? H : 1, length = size() / rows;
    of_bias = of_strength = 0;
    for (I r = 0; r < rows; r++) {
      const float* row = dx + r * length;
      float sum = 0;
      for (I i = 0; i < length; i++) sum += row[i];
      for (I i = 0; i < length; i++) of_strength += row[i] * random[r * length + i];
      if (kind == BLURRED) sum = edge(r, H) * (sum - 0.25f * row[0] - 0.25f * row[length - 1]);
      of_bias += sum;
    }
  }
};

// -> y
inline void forward(const Layer& layer, float* y) {
  const I size = layer.size();
  share(layer.N * layer.C, std::max<I>(1, 8192 / size), [&](I first, I end) {
    for (I plane = first; plane < end; plane++) {
      float *out = y + plane * size, mean, scale;
      layer.activate(plane, out, mean, scale);
      const I gamma = layer.gamma(plane);
      const float factor = layer.style[gamma] * scale, beta = layer.style[gamma + layer.C];
      for (I i = 0; i < size; i++) out[i] = factor * (out[i] - mean) + beta;
    }
  });
}

// dy -> dx, dstyle, and what bias and strength get from each image (n, c)
inline void gradient(const Layer& layer, const float* dy, float* dx, float* dstyle, float* dbias,
    float* dstrength) {
  const I size = layer.size();
  share(layer.N * layer.C, std::max<I>(1, 8192 / size), [&](I first, I end) {
    for (I plane = first; plane < end; plane++) {
      const float* d = dy + plane * size;
      float *out = dx + plane * size, mean, scale, shift = 0, along = 0;
      layer.activate(plane, out, mean, scale);
      for (I i = 0; i < size; i++) {
        shift += d[i];
        along += d[i] * (out[i] - mean);
      }
      const I gamma = layer.gamma(plane);
      dstyle[gamma] = along * scale;
      dstyle[gamma + layer.C] = shift;
      const float factor = layer.style[gamma] * scale, a = along * scale * scale / size,
                  b = shift / size;
      for (I i = 0; i < size; i++)
        out[i] = factor * (d[i] - b - a * (out[i] - mean)) * biased::bent(out[i]);
      layer.share_of(plane, out, dbias[plane], dstrength[plane]);
      dstrength[plane] *= layer.weight;
      if (layer.factor != 1)
        for (I i = 0; i < size; i++) out[i] *= layer.factor;
    }
  });
}

}  // namespace styled
}  // namespace kernels
