// Convolutions and filters for the CPU, float32, images (n, c, h, w). `ops.py` calls them.
//
// 3x3 kernels of stride 1 with padding 1 on even sizes (winograd); blur, convolution and 2x2
// average in one (down); what follows a convolution of the generator (styled). The products are
// oneDNN's sgemm, row-major.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>
#include <omp.h>

extern "C" int dnnl_sgemm(char transpose_a, char transpose_b, int64_t m, int64_t n, int64_t k,
    float alpha, const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c,
    int64_t ldc);

namespace kernels {

typedef int64_t I;
typedef std::unique_ptr<float[]> Scratch;

const I COLUMNS = 256;  // of a matrix product; its operands then stay in the cache

inline Scratch scratch(I size) { return Scratch(new float[size]); }

// How many rows of `width` columns are taken at once.
inline I chunk(I rows, I width) { return std::max<I>(1, std::min(rows, COLUMNS / width)); }

// Winograd's F(2x2, 3x3) (Lavin & Gray 2016, section 4.1): tiles of 2x2 outputs and 4x4 inputs, 16
// products where the definition has 36. A row of tiles: r = image * h / 2 + tile row.
namespace winograd {

// G g G' of every kernel. w (o, c, 3, 3) -> u (16, o, c); adjoint: of the kernels turned by 180
// degrees, with inputs and outputs exchanged, u (16, c, o).
inline void kernel(const float* w, float* u, I O, I C, bool adjoint) {
  const I rows = adjoint ? C : O, columns = adjoint ? O : C, plane = O * C;
  #pragma omp parallel for
  for (I row = 0; row < rows; row++)
    for (I column = 0; column < columns; column++) {
      const float* g = w + (adjoint ? column * C + row : row * C + column) * 9;
      float t[4][3];
      for (int j = 0; j < 3; j++) {
        const float a = adjoint ? g[8 - j] : g[j], b = adjoint ? g[5 - j] : g[3 + j],
                    d = adjoint ? g[2 - j] : g[6 + j];
        t[0][j] = a;
        t[1][j] = 0.5f * (a + b + d);
        t[2][j] = 0.5f * (a - b + d);
        t[3][j] = d;
      }
      float* out = u + row * columns + column;
      for (int k = 0; k < 4; k++) {
        const float a = t[k][0], b = t[k][1], d = t[k][2];
        out[(4 * k) * plane] = a;
        out[(4 * k + 1) * plane] = 0.5f * (a + b + d);
        out[(4 * k + 2) * plane] = 0.5f * (a - b + d);
        out[(4 * k + 3) * plane] = d;
      }
    }
}

// The adjoint of that. du (16, o, c) -> dw (o, c, 3, 3)
inline void kernel_gradient(const float* du, float* dw, I O, I C) {
  const I plane = O * C;
  #pragma omp parallel for
  for (I i = 0; i < plane; i++) {
    float t[4][3];
    for (int k = 0; k < 4; k++) {
      const float a = du[(4 * k) * plane + i], b = 0.5f * du[(4 * k + 1) * plane + i],
                  d = 0.5f * du[(4 * k + 2) * plane + i], e = du[(4 * k + 3) * plane + i];
      t[k][0] = a + b + d;
      t[k][1] = b - d;
      t[k][2] = b + d + e;
    }
    for (int j = 0; j < 3; j++) {
      const float b = 0.5f * t[1][j], d = 0.5f * t[2][j];
      dw[i * 9 + j] = t[0][j] + b + d;
      dw[i * 9 + 3 + j] = b - d;
      dw[i * 9 + 6 + j] = b + d + t[3][j];
    }
  }
}

// B' d B of the tiles of rows r0..r1. x (n, c, h, w) -> v (16, c, P)
inline void input(const float* x, float* v, I C, I H, I W, I r0, I r1) {
  const I T = W / 2, R = H / 2, P = (r1 - r0) * T, plane = C * P;
  #pragma omp parallel
  {
    std::vector<float> rows(5 * (W + 2), 0.f);  // four with a border of zeros, and one of zeros
    const float* zero = rows.data() + 4 * (W + 2);
    #pragma omp for
    for (I c = 0; c < C; c++)
      for (I r = r0; r < r1; r++) {
        const I n = r / R, i = r % R;
        const float* b = x + ((n * C + c) * H + 2 * i) * W;
        const float* a = i ? b - W : zero;
        const float* d = b + W;
        const float* e = i + 1 < R ? b + 2 * W : zero;
        float* t = rows.data() + 1;
        for (I j = 0; j < W; j++) {
          t[j] = a[j] - d[j];
          t[(W + 2) + j] = b[j] + d[j];
          t[2 * (W + 2) + j] = d[j] - b[j];
          t[3 * (W + 2) + j] = b[j] - e[j];
        }
        for (int k = 0; k < 4; k++) {
          const float* s = rows.data() + k * (W + 2);
          float* o0 = v + 4 * k * plane + c * P + (r - r0) * T;
          float *o1 = o0 + plane, *o2 = o1 + plane, *o3 = o2 + plane;
          for (I j = 0; j < T; j++) {
            o0[j] = s[2 * j] - s[2 * j + 2];
            o1[j] = s[2 * j + 1] + s[2 * j + 2];
            o2[j] = s[2 * j + 2] - s[2 * j + 1];
            o3[j] = s[2 * j + 1] - s[2 * j + 3];
          }
        }
      }
  }
}

// A' m A of the tiles of rows r0..r1. m (16, c, P) -> y (n, c, h, w)
inline void output(const float* m, float* y, I C, I H, I W, I r0, I r1) {
  const I T = W / 2, R = H / 2, P = (r1 - r0) * T, plane = C * P;
  #pragma omp parallel for
  for (I c = 0; c < C; c++)
    for (I r = r0; r < r1; r++) {
      float* y0 = y + ((r / R * C + c) * H + 2 * (r % R)) * W;
      float* y1 = y0 + W;
      const float* q = m + c * P + (r - r0) * T;
      for (I j = 0; j < T; j++) {
        float s[4], t[4];
        for (int l = 0; l < 4; l++) {
          const float a = q[l * plane + j], b = q[(4 + l) * plane + j], d = q[(8 + l) * plane + j],
                      e = q[(12 + l) * plane + j];
          s[l] = a + b + d;
          t[l] = b - d - e;
        }
        y0[2 * j] = s[0] + s[1] + s[2];
        y0[2 * j + 1] = s[1] - s[2] - s[3];
        y1[2 * j] = t[0] + t[1] + t[2];
        y1[2 * j + 1] = t[1] - t[2] - t[3];
      }
    }
}

// The adjoint of that. dy (n, c, h, w) -> dm (16, c, P)
inline void output_gradient(const float* dy, float* dm, I C, I H, I W, I r0, I r1) {
  const I T = W / 2, R = H / 2, P = (r1 - r0) * T, plane = C * P;
  #pragma omp parallel for
  for (I c = 0; c < C; c++)
    for (I r = r0; r < r1; r++) {
      const float* y0 = dy + ((r / R * C + c) * H + 2 * (r % R)) * W;
      const float* y1 = y0 + W;
      float* q = dm + c * P + (r - r0) * T;
      for (I j = 0; j < T; j++) {
        const float a = y0[2 * j], b = y0[2 * j + 1], d = y1[2 * j], e = y1[2 * j + 1];
        const float s[4] = {a, a + d, a - d, -d}, t[4] = {b, b + e, b - e, -e};
        for (int k = 0; k < 4; k++) {
          q[(4 * k) * plane + j] = s[k];
          q[(4 * k + 1) * plane + j] = s[k] + t[k];
          q[(4 * k + 2) * plane + j] = s[k] - t[k];
          q[(4 * k + 3) * plane + j] = -t[k];
        }
      }
    }
}

// x (n, c, h, w) and transformed kernels u (16, o, c) -> y (n, o, h, w)
inline void products(const float* x, const float* u, float* y, I N, I C, I O, I H, I W,
    float scale) {
  const I rows = N * H / 2, step = chunk(rows, W / 2), most = step * W / 2;
  Scratch v = scratch(16 * C * most), m = scratch(16 * O * most);
  for (I r = 0; r < rows; r += step) {
    const I end = std::min(rows, r + step), P = (end - r) * W / 2;
    const I parts = std::min<I>(P, (omp_get_max_threads() + 15) / 16);
    input(x, v.get(), C, H, W, r, end);
    #pragma omp parallel for collapse(2)
    for (I k = 0; k < 16; k++)
      for (I part = 0; part < parts; part++) {
        const I p = P * part / parts, width = P * (part + 1) / parts - p;
        dnnl_sgemm('N', 'N', O, width, C, scale, u + k * O * C, C, v.get() + k * C * P + p, P, 0.f,
            m.get() + k * O * P + p, P);
      }
    output(m.get(), y, O, H, W, r, end);
  }
}

// x (n, c, h, w), w (o, c, 3, 3) -> y (n, o, h, w)
inline void conv(const float* x, const float* w, float* y, I N, I C, I O, I H, I W,
    float scale) {
  Scratch u = scratch(16 * O * C);
  kernel(w, u.get(), O, C, false);
  products(x, u.get(), y, N, C, O, H, W, scale);
}

// w (o, c, 3, 3), dy (n, o, h, w) -> dx (n, c, h, w)
inline void data(const float* w, const float* dy, float* dx, I N, I C, I O, I H, I W,
    float scale) {
  Scratch u = scratch(16 * O * C);
  kernel(w, u.get(), O, C, true);
  products(dy, u.get(), dx, N, O, C, H, W, scale);
}

// x (n, c, h, w), dy (n, o, h, w) -> dw (o, c, 3, 3)
inline void weight(const float* x, const float* dy, float* dw, I N, I C, I O, I H, I W,
    float scale) {
  const I rows = N * H / 2, step = chunk(rows, W / 2), most = step * W / 2;
  Scratch du = scratch(16 * O * C), v = scratch(16 * C * most), dm = scratch(16 * O * most);
  const I parts = std::min<I>(O, (omp_get_max_threads() + 15) / 16);
  for (I r = 0; r < rows; r += step) {
    const I end = std::min(rows, r + step), P = (end - r) * W / 2;
    input(x, v.get(), C, H, W, r, end);
    output_gradient(dy, dm.get(), O, H, W, r, end);
    #pragma omp parallel for collapse(2)
    for (I k = 0; k < 16; k++)
      for (I part = 0; part < parts; part++) {
        const I o = O * part / parts, height = O * (part + 1) / parts - o;
        dnnl_sgemm('N', 'T', height, C, P, scale, dm.get() + (k * O + o) * P, P,
            v.get() + k * C * P, P, r ? 1.f : 0.f, du.get() + (k * O + o) * C, C);
      }
  }
  kernel_gradient(du.get(), dw, O, C);
}

}  // namespace winograd

// Along one axis: blur [1 2 1] with zeros beyond the border, then sums of neighbours, n -> n + 1,
// zeros beyond the border of the blurred; and the adjoint, n + 1 -> n. Both axes: times 1 / 64.
namespace smooth {

// Horizontally, in (w + 2) -> out (w + 1); in and t (w + 2) have zeros at both ends
template <class T>
inline void row_forward(const T* in, T* t, T* out, I w) {
  for (I j = 0; j < w; j++) t[j + 1] = in[j] + 2 * in[j + 1] + in[j + 2];
  for (I j = 0; j <= w; j++) out[j] = (t[j] + t[j + 1]) * T(1. / 64);
}

// in (w + 1) -> out (w)
template <class T>
inline void row_adjoint(const T* in, T* t, T* out, I w) {
  for (I j = 0; j < w; j++) t[j + 1] = in[j] + in[j + 1];
  for (I j = 0; j < w; j++) out[j] = (t[j] + 2 * t[j + 1] + t[j + 2]) * T(1. / 64);
}

// x (planes, h, w) -> y (planes, h + 1, w + 1)
template <class T>
inline void forward(const T* x, T* y, I planes, I h, I w) {
  #pragma omp parallel
  {
    std::vector<T> t(w + 2, 0), zero(w, 0), sum(w + 2, 0);
    #pragma omp for
    for (I plane = 0; plane < planes; plane++) {
      const T* in = x + plane * h * w;
      // q[k] = b[k - 1] + b[k] with b = blurred; so q[k] = x[k - 2] + 3 x[k - 1] + 3 x[k] +
      // x[k + 1] but at the borders
      for (I k = 0; k <= h; k++) {
        const T* a = k > 1 ? in + (k - 2) * w : zero.data();
        const T* b = k > 0 ? in + (k - 1) * w : zero.data();
        const T* c = k < h ? in + k * w : zero.data();
        const T* d = k + 1 < h ? in + (k + 1) * w : zero.data();
        const T fb = k < h ? 3 : 2, fc = k > 0 ? 3 : 2;
        for (I j = 0; j < w; j++) sum[j + 1] = a[j] + fb * b[j] + fc * c[j] + d[j];
        row_forward(sum.data(), t.data(), y + (plane * (h + 1) + k) * (w + 1), w);
      }
    }
  }
}

// y (planes, h + 1, w + 1) -> x (planes, h, w)
template <class T>
inline void adjoint(const T* y, T* x, I planes, I h, I w) {
  #pragma omp parallel
  {
    std::vector<T> t(w + 2, 0), zero(w + 1, 0), sum(w + 1);
    #pragma omp for
    for (I plane = 0; plane < planes; plane++) {
      const T* in = y + plane * (h + 1) * (w + 1);
      for (I i = 0; i < h; i++) {
        const T* b = in + i * (w + 1);
        const T* c = b + (w + 1);
        const T* a = i ? b - (w + 1) : zero.data();
        const T* d = i + 1 < h ? c + (w + 1) : zero.data();
        const T fb = i ? 3 : 2, fc = i + 1 < h ? 3 : 2;
        for (I j = 0; j <= w; j++) sum[j] = a[j] + fb * b[j] + fc * c[j] + d[j];
        row_adjoint(sum.data(), t.data(), x + (plane * h + i) * w, w);
      }
    }
  }
}

}  // namespace smooth

// Blur, 2x2 average, kernel (o, c, 3, 3) with stride 2: from x (n, c, 2h, 2w) to y (n, o, h, w), as
// products with the matrix of all taps of the smoothed images q (n, c, 2h + 1, 2w + 1). These are
// made for some images at a time, and never kept. A row of the matrix: r = image * h + row of y.
namespace down {

// q -> taps (c * 9, P) of rows r0..r1
inline void gather(const float* q, float* taps, I C, I h, I w, I r0, I r1) {
  const I H = 2 * h + 1, W = 2 * w + 1, P = (r1 - r0) * w;
  #pragma omp parallel for
  for (I c = 0; c < C; c++)
    for (I r = r0; r < r1; r++)
      for (int k = 0; k < 3; k++) {
        const float* row = q + ((r / h * C + c) * H + 2 * (r % h) + k) * W;
        float* out = taps + (c * 9 + k * 3) * P + (r - r0) * w;
        for (I j = 0; j < w; j++) {
          out[j] = row[2 * j];
          out[P + j] = row[2 * j + 1];
          out[2 * P + j] = row[2 * j + 2];
        }
      }
}

// The adjoint of that: taps -> dq. Rows come in order, the first of an image clears its own.
inline void scatter(const float* taps, float* dq, I C, I h, I w, I r0, I r1) {
  const I H = 2 * h + 1, W = 2 * w + 1, P = (r1 - r0) * w;
  #pragma omp parallel for
  for (I c = 0; c < C; c++)
    for (I r = r0; r < r1; r++)
      for (int k = 0; k < 3; k++) {
        float* row = dq + ((r / h * C + c) * H + 2 * (r % h) + k) * W;
        const float* in = taps + (c * 9 + k * 3) * P + (r - r0) * w;
        if (k || r % h == 0) std::memset(row, 0, W * sizeof(float));
        for (I j = 0; j < w; j++) {
          row[2 * j] += in[j];
          row[2 * j + 1] += in[P + j];
        }
        for (I j = 0; j < w; j++) row[2 * j + 2] += in[2 * P + j];
      }
}

// Rows r0..r1 of y (n, o, h, w) <-> matrix (o, P)
template <bool to_matrix, class Images>
inline void reorder(Images* y, float* matrix, I O, I h, I w, I r0, I r1) {
  const I P = (r1 - r0) * w;
  #pragma omp parallel for
  for (I o = 0; o < O; o++)
    for (I r = r0; r < r1; r++) {
      Images* row = y + ((r / h * O + o) * h + r % h) * w;
      float* place = matrix + o * P + (r - r0) * w;
      std::memcpy(to_matrix ? place : (float*)row, to_matrix ? row : place, w * sizeof(float));
    }
}

inline I group(I N, I h, I w) { return std::max<I>(1, std::min(N, COLUMNS / (h * w))); }

// x, w -> y
inline void conv(const float* x, const float* w, float* y, I N, I C, I O, I h, I width,
    float scale) {
  const I images = group(N, h, width), step = chunk(images * h, width);
  Scratch q = scratch(images * C * (2 * h + 1) * (2 * width + 1));
  Scratch taps = scratch(9 * C * step * width), m = scratch(O * step * width);
  for (I n = 0; n < N; n += images) {
    const I count = std::min(images, N - n), rows = count * h;
    smooth::forward(x + n * C * 4 * h * width, q.get(), count * C, 2 * h, 2 * width);
    for (I r = 0; r < rows; r += step) {
      const I end = std::min(rows, r + step), P = (end - r) * width;
      gather(q.get(), taps.get(), C, h, width, r, end);
      dnnl_sgemm('N', 'N', O, P, 9 * C, scale, w, 9 * C, taps.get(), P, 0.f, m.get(), P);
      reorder<false>(y + n * O * h * width, m.get(), O, h, width, r, end);
    }
  }
}

// w, dy -> dx
inline void data(const float* w, const float* dy, float* dx, I N, I C, I O, I h, I width,
    float scale) {
  const I images = group(N, h, width), step = chunk(images * h, width);
  Scratch dq = scratch(images * C * (2 * h + 1) * (2 * width + 1));
  Scratch taps = scratch(9 * C * step * width), m = scratch(O * step * width);
  for (I n = 0; n < N; n += images) {
    const I count = std::min(images, N - n), rows = count * h;
    for (I r = 0; r < rows; r += step) {
      const I end = std::min(rows, r + step), P = (end - r) * width;
      reorder<true>(dy + n * O * h * width, m.get(), O, h, width, r, end);
      dnnl_sgemm('T', 'N', 9 * C, P, O, scale, w, 9 * C, m.get(), P, 0.f, taps.get(), P);
      scatter(taps.get(), dq.get(), C, h, width, r, end);
    }
    smooth::adjoint(dq.get(), dx + n * C * 4 * h * width, count * C, 2 * h, 2 * width);
  }
}

// x, dy -> dw
inline void weight(const float* x, const float* dy, float* dw, I N, I C, I O, I h, I width,
    float scale) {
  const I images = group(N, h, width), step = chunk(images * h, width);
  Scratch q = scratch(images * C * (2 * h + 1) * (2 * width + 1));
  Scratch taps = scratch(9 * C * step * width), m = scratch(O * step * width);
  for (I n = 0; n < N; n += images) {
    const I count = std::min(images, N - n), rows = count * h;
    smooth::forward(x + n * C * 4 * h * width, q.get(), count * C, 2 * h, 2 * width);
    for (I r = 0; r < rows; r += step) {
      const I end = std::min(rows, r + step), P = (end - r) * width;
      gather(q.get(), taps.get(), C, h, width, r, end);
      reorder<true>(dy + n * O * h * width, m.get(), O, h, width, r, end);
      dnnl_sgemm('N', 'T', O, 9 * C, P, scale, m.get(), P, taps.get(), P, n + r ? 1.f : 0.f, dw,
          9 * C);
    }
  }
}

}  // namespace down

namespace leaky {

// dy times 1 where y is positive, else 0.2
inline void slope(const float* y, const float* dy, float* dx, I size) {
  #pragma omp parallel for
  for (I i = 0; i < size; i++) dx[i] = y[i] > 0 ? dy[i] : 0.2f * dy[i];
}

}  // namespace leaky

// Leaky ReLU of slope 0.2, instance norm, scale and shift per image and channel.
namespace styled {

// x (n, c, size), style (n, 2, c) of gamma and beta -> y
inline void forward(const float* x, const float* style, float* y, I N, I C, I size, float eps) {
  #pragma omp parallel for
  for (I plane = 0; plane < N * C; plane++) {
    const float *in = x + plane * size, *gamma = style + plane / C * 2 * C + plane % C;
    float* out = y + plane * size;
    float sum = 0, squares = 0;
    for (I i = 0; i < size; i++) sum += out[i] = std::max(in[i], 0.2f * in[i]);
    const float mean = sum / size;
    for (I i = 0; i < size; i++) squares += (out[i] - mean) * (out[i] - mean);
    const float scale = *gamma / std::sqrt(squares / size + eps), beta = gamma[C];
    for (I i = 0; i < size; i++) out[i] = scale * (out[i] - mean) + beta;
  }
}

// x, style, dy -> dx, dstyle
inline void gradient(const float* x, const float* style, const float* dy, float* dx, float* dstyle,
    I N, I C, I size, float eps) {
  #pragma omp parallel for
  for (I plane = 0; plane < N * C; plane++) {
    const float *in = x + plane * size, *d = dy + plane * size;
    const I gamma = plane / C * 2 * C + plane % C;
    float* out = dx + plane * size;
    float sum = 0, squares = 0, shift = 0, along = 0;
    for (I i = 0; i < size; i++) sum += out[i] = std::max(in[i], 0.2f * in[i]);
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
    const float factor = style[gamma] * scale, a = along * scale * scale / size, b = shift / size;
    for (I i = 0; i < size; i++)
      out[i] = factor * (d[i] - b - a * out[i]) * (in[i] > 0 ? 1.f : 0.2f);
  }
}

}  // namespace styled
}  // namespace kernels
