// Blur and sums of 2x2 neighbours, or the adjoint, see ../down.h: four neighbours along each axis,
// [1 3 3 1] but at the borders.

#include "launch.cuh"

namespace smoothing {

typedef long long I;

const int ROWS = 8;  // of the output, for one thread

// The k-th of four weights; the first is that of place `first` of n
__device__ inline float tap(int k, int first, int n, bool adjoint) {
  if (k == 1) return 2 + (adjoint ? first >= 0 : first + 2 < n);
  if (k == 2) return 2 + (adjoint ? first + 3 < n : first + 1 >= 0);
  return 1;
}

// x (planes, h, w) -> y (planes, h', w'), one more in both or, the adjoint, one less. A thread
// makes ROWS numbers below one another and keeps what it has summed along the last four rows of x.
__global__ void smooth_columns(const float* x, float* y, int h, int w, int bands, I threads,
    float scale, bool adjoint) {
  const I thread = blockIdx.x * (I)blockDim.x + threadIdx.x;
  if (thread >= threads) return;
  const int oh = adjoint ? h - 1 : h + 1, ow = adjoint ? w - 1 : w + 1;
  const int column = thread % ow, begin = thread / ow % bands * ROWS;
  const I plane = thread / ow / bands;
  const int left = column - 2 + adjoint, before = adjoint ? 1 : 2;
  x += plane * h * w, y += plane * oh * ow;

  float weights[4], rows[4];
  for (int k = 0; k < 4; k++) {
    const bool inside = left + k >= 0 && left + k < w;
    weights[k] = inside ? tap(k, left, w, adjoint) : 0;
  }
  const int end = min(begin + ROWS, oh);
  for (int row = begin - before; row < end - before + 3; row++) {
    float sum = 0;
    if (row >= 0 && row < h)
      for (int k = 0; k < 4; k++)
        if (weights[k] != 0) sum += weights[k] * x[(I)row * w + left + k];
    rows[0] = rows[1], rows[1] = rows[2], rows[2] = rows[3], rows[3] = sum;
    const int first = row - 3, i = first + before;  // of the four rows, and the output's row
    if (i < begin) continue;
    float all = 0;
    for (int k = 0; k < 4; k++)
      if (first + k >= 0 && first + k < h) all += tap(k, first, h, adjoint) * rows[k];
    y[(I)i * ow + column] = all * scale;
  }
}

// x (planes, 2h, 2w) -> y (planes, h, w): sums of 2x2 neighbours times scale. total: numbers of y
__global__ void sum_cells(const float* x, float* y, int w, I total, float scale) {
  const I i = blockIdx.x * (I)blockDim.x + threadIdx.x;
  if (i >= total) return;
  x += i / w * 4 * w + i % w * 2;
  y[i] = scale * ((x[0] + x[1]) + (x[2 * w] + x[2 * w + 1]));
}

// The adjoint: x (planes, h, w) -> y (planes, 2h, 2w)
__global__ void fill_cells(const float* x, float* y, int w, I total, float scale) {
  const I i = blockIdx.x * (I)blockDim.x + threadIdx.x;
  if (i < total) y[i] = scale * x[i / (4 * w) * w + i % (2 * w) / 2];
}

}  // namespace smoothing

// Numbers: planes, h, w, what to multiply with, whether it is the adjoint
void smooth(const float* const* from, float* const* to, const double* numbers) {
  using namespace smoothing;
  const bool adjoint = numbers[4];
  const int h = numbers[1], w = numbers[2], more = adjoint ? -1 : 1, oh = h + more, ow = w + more;
  const int bands = (oh + ROWS - 1) / ROWS;
  const I threads = I(numbers[0]) * bands * ow;
  LAUNCH(smooth_columns, (threads + 255) / 256, 256, from[0], to[0], h, w, bands, threads,
      numbers[3] / 64, adjoint);
}

// Numbers: planes, h, w of y, what to multiply with
void pool(const float* const* from, float* const* to, const double* numbers) {
  const smoothing::I total = numbers[0] * numbers[1] * numbers[2];
  LAUNCH(smoothing::sum_cells, (total + 255) / 256, 256, from[0], to[0], numbers[2], total,
      numbers[3]);
}

// Numbers: planes, h, w of x, what to multiply with
void unpool(const float* const* from, float* const* to, const double* numbers) {
  const smoothing::I total = 4 * numbers[0] * numbers[1] * numbers[2];
  LAUNCH(smoothing::fill_cells, (total + 255) / 256, 256, from[0], to[0], numbers[2], total,
      numbers[3]);
}
