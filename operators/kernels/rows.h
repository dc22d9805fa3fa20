// Rows of images with the channels of a pixel beside each other, as vectors take them: (w, c), c
// padded with zeros to whole vectors; and from and to (c, h, w).

#pragma once

#include "product.h"

namespace kernels {

typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));
typedef int Places __attribute__((vector_size(16)));

// 4 x 4 numbers, rows `from` apart, transposed, rows `to` apart
inline void turn4(const float* x, I from, float* y, I to) {
  Four r[4];
  for (int i = 0; i < 4; i++) r[i] = *(const Four*)(x + i * from);
  const Places low = {0, 4, 1, 5}, high = {2, 6, 3, 7}, first = {0, 1, 4, 5}, last = {2, 3, 6, 7};
  const Four a = __builtin_shuffle(r[0], r[1], low), b = __builtin_shuffle(r[2], r[3], low),
             c = __builtin_shuffle(r[0], r[1], high), d = __builtin_shuffle(r[2], r[3], high);
  *(Four*)(y) = __builtin_shuffle(a, b, first);
  *(Four*)(y + to) = __builtin_shuffle(a, b, last);
  *(Four*)(y + 2 * to) = __builtin_shuffle(c, d, first);
  *(Four*)(y + 3 * to) = __builtin_shuffle(c, d, last);
}

// x (m, n), rows `from` apart -> y (n, m), rows `to` apart
inline void turn(const float* x, I from, float* y, I to, I M, I N) {
  const I m4 = M / 4 * 4, n4 = N / 4 * 4;
  for (I i = 0; i < m4; i += 4)
    for (I j = 0; j < n4; j += 4) turn4(x + i * from + j, from, y + j * to + i, to);
  for (I i = 0; i < M; i++)
    for (I j = i < m4 ? n4 : 0; j < N; j++) y[j * to + i] = x[i * from + j];
}

// From one pixel to the next, in numbers: all channels, and some more where that many were a
// multiple of what drives lines out of a cache.
inline I pitch(I C) { return padded(C) % 64 ? padded(C) : padded(C) + 16; }

// A row of x (c, h, w) -> (w, c)
inline void row_from_planes(const float* x, float* y, I C, I size, I w) {
  const I apart = pitch(C);
  turn(x, size, y, apart, C, w);
  for (I j = 0; j < w; j++) std::fill(y + j * apart + C, y + (j + 1) * apart, 0.f);
}

// The other way
inline void row_to_planes(const float* y, float* x, I C, I size, I w) {
  turn(y, pitch(C), x, size, w, C);
}

// Pixels that one thread takes at a time: with what is made of them they stay in its cache.
const I PIXELS_AT_ONCE = 64;

// How many rows of `width` pixels are taken at once: some for each thread.
inline I rows_at_once(I rows, I width, I most = PIXELS_AT_ONCE) {
  const I pixels = std::max<I>(32, std::min(most, rows * width / 8));
  return std::max<I>(1, std::min(rows, pixels / width));
}

}  // namespace kernels
