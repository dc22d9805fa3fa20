// Products of matrices, row-major, each by one thread, and what is made of them alone.

#pragma once

#include "pool.h"

extern "C" int dnnl_sgemm(char transpose_a, char transpose_b, int64_t m, int64_t n, int64_t k,
    float alpha, const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c,
    int64_t ldc);

namespace kernels {

#if defined(__AVX512F__)
const int LANES = 16;
#elif defined(__AVX__)
const int LANES = 8;
#else
const int LANES = 4;
#endif
typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

inline Vector load(const float* x) { return *(const Vector*)x; }
inline void store(float* x, Vector v) { *(Vector*)x = v; }

// So many numbers that vectors fill them
inline I padded(I n) { return (n + LANES - 1) / LANES * LANES; }

const I PANEL = 2 * LANES;  // columns

// Where column `n` of row `k` of a matrix (K, N), N padded, is in panels: PANEL columns of all
// rows, then the next ones, as a product reads them.
inline I in_panels(I k, I n, I K, I N) {
  const I first = n / PANEL * PANEL;
  return first * K + k * std::min(PANEL, N - first) + (n - first);
}

// M rows, V vectors of columns: c = scale op(a) b, or added to it. Of a, `row` and `column` are from
// one to the next in memory.
template <int M, int V>
inline void block(const float* a, I row, I column, const float* b, float* c, I ldc, I K,
    float scale, bool add) {
  Vector sum[M][V] = {};
  for (I k = 0; k < K; k++, a += column, b += V * LANES) {
    Vector right[V];
    for (int v = 0; v < V; v++) right[v] = load(b + v * LANES);
    for (int i = 0; i < M; i++) {
      const float left = a[i * row];
      for (int v = 0; v < V; v++) sum[i][v] += left * right[v];
    }
  }
  for (int i = 0; i < M; i++)
    for (int v = 0; v < V; v++) {
      float* place = c + i * ldc + v * LANES;
      store(place, add ? load(place) + sum[i][v] * scale : sum[i][v] * scale);
    }
}

template <int V>
inline void panel(const float* a, I row, I column, const float* b, float* c, I ldc, I M, I K,
    float scale, bool add) {
  const int most = 12 / V;  // with their sums in registers
  while (M > 0) {
    const I some = M >= most ? most : M >= 4 ? 4 : M >= 2 ? 2 : 1;
    (some == most ? block<most, V>
        : some == 4  ? block<4, V>
        : some == 2  ? block<2, V>
                     : block<1, V>)(a, row, column, b, c, ldc, K, scale, add);
    a += some * row;
    c += some * ldc;
    M -= some;
  }
}

// c (m, n) = scale op(a) b, or added to it: a (m, k), or with `transpose` (k, m), rows `lda` apart;
// b (k, n) in panels, n padded; c with rows `ldc` apart.
inline void multiply(bool transpose, I M, I N, I K, float scale, const float* a, I lda,
    const float* b, bool add, float* c, I ldc) {
  const I row = transpose ? 1 : lda, column = transpose ? lda : 1;
  I n = 0;
  for (; n + PANEL <= N; n += PANEL)
    panel<2>(a, row, column, b + n * K, c + n, ldc, M, K, scale, add);
  if (n < N) panel<1>(a, row, column, b + n * K, c + n, ldc, M, K, scale, add);
}

// Into how many sums a gradient of so many numbers is cut, for threads to take one each.
inline I count_sums(I size) { return std::max<I>(1, std::min<I>(8, (1 << 20) / size)); }

// Adds up `sums` times `size` numbers, in order, into the first.
inline void add_up(float* x, I sums, I size) {
  share(size, 8192, [&](I i, I end) {
    for (I k = 1; k < sums; k++)
      for (I j = i; j < end; j++) x[j] += x[k * size + j];
  });
}

// scale op(a) op(b), op transposing or not: (m, k) and (k, n) -> c (m, n)
inline void matmul(const float* a, const float* b, float* c, I m, I n, I k, bool transpose_a,
    bool transpose_b, float scale) {
  const bool rows = m > n;
  const I all = rows ? m : n;
  share(all, std::max<I>(64, (all + 7) / 8), [&](I i, I end) {
    const float* left = a + (rows ? (transpose_a ? i : i * k) : 0);
    const float* right = b + (rows ? 0 : (transpose_b ? i * k : i));
    dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', rows ? end - i : m,
        rows ? n : end - i, k, scale, left, transpose_a ? m : k, right, transpose_b ? k : n, 0.f,
        c + (rows ? i * n : i), n);
  });
}

// Kernels of one pixel, w (o, c): images (n, c, h, w) <-> (n, o, h, w).
namespace pointwise {

const I PIXELS = 1024;  // at a time

// f(image, first pixel, pixels)
template <class F>
inline void share_pixels(I N, I size, const F& f) {
  const I parts = (size + PIXELS - 1) / PIXELS;
  Pool::get().share(N * parts, [&](I i) {
    const I first = i % parts * PIXELS;
    f(i / parts, first, std::min(PIXELS, size - first));
  });
}

// x, w -> y
inline void conv(const float* x, const float* w, float* y, I N, I C, I O, I h, I width,
    float scale) {
  const I size = h * width;
  share_pixels(N, size, [&](I n, I p, I count) {
    dnnl_sgemm('N', 'N', O, count, C, scale, w, C, x + n * C * size + p, size, 0.f,
        y + n * O * size + p, size);
  });
}

// w, dy -> dx
inline void data(const float* w, const float* dy, float* dx, I N, I C, I O, I h, I width,
    float scale) {
  const I size = h * width;
  share_pixels(N, size, [&](I n, I p, I count) {
    dnnl_sgemm('T', 'N', C, count, O, scale, w, C, dy + n * O * size + p, size, 0.f,
        dx + n * C * size + p, size);
  });
}

// x, dy -> dw
inline void weight(const float* x, const float* dy, float* dw, I N, I C, I O, I h, I width,
    float scale) {
  const bool rows = O > C;
  const I size = h * width, all = rows ? O : C;
  share(all, std::max<I>(16, (all + 7) / 8), [&](I i, I end) {
    for (I n = 0; n < N; n++) {
      const float *left = dy + n * O * size, *right = x + n * C * size;
      dnnl_sgemm('N', 'T', rows ? end - i : O, rows ? C : end - i, size, scale,
          left + (rows ? i * size : 0), size, right + (rows ? 0 : i * size), size, n ? 1.f : 0.f,
          dw + (rows ? i * C : i), C);
    }
  });
}

}  // namespace pointwise
}  // namespace kernels
