// Blur, 2x2 average, kernel (o, c, 3, 3) with stride 2: from x (n, c, 2h, 2w) to y (n, o, h, w), as
// products with the matrix of all taps of the smoothed images q. These are made for some images at
// a time, and never kept. A row of the matrix: r = image * h + row of y.

#pragma once

#include "product.h"

namespace kernels {

// Along one axis: blur [1 2 1] with zeros beyond the border, then sums of neighbours, n -> n + 1,
// zeros beyond the border of the blurred; and the adjoint, n + 1 -> n. Both axes: times 1 / 64.
//
// q (planes, 2h + 1, 2 (w + 1)): the even columns of each row, then the odd ones, of which there is
// one less: taps of stride 2 are then neighbours.
namespace smooth {

// x (planes, 2h, 2w) -> q, planes i..end
inline void forward(const float* x, float* q, I h, I w, I i, I end) {
  const I H = 2 * h, W = 2 * w;
  Scratch buffer = scratch(3 * W + 8);
  std::fill(buffer.get(), buffer.get() + 3 * W + 8, 0.f);
  float *zero = buffer.get(), *sum = zero + W, *t = sum + W + 4;  // with zeros at their ends
  for (; i < end; i++) {
    const float* in = x + i * H * W;
    // rows of x blurred and added up: x[k - 2] + 3 x[k - 1] + 3 x[k] + x[k + 1] but at the borders
    for (I k = 0; k <= H; k++) {
      const float *a = k > 1 ? in + (k - 2) * W : zero, *b = k > 0 ? in + (k - 1) * W : zero,
                  *c = k < H ? in + k * W : zero, *d = k + 1 < H ? in + (k + 1) * W : zero;
      const float fb = k < H ? 3 : 2, fc = k > 0 ? 3 : 2;
      float *even = q + (i * (H + 1) + k) * 2 * (w + 1), *odd = even + (w + 1);
      #pragma GCC ivdep
      for (I j = 0; j < W; j++) sum[j + 1] = (a[j] + fb * b[j] + fc * c[j] + d[j]) * (1.f / 64);
      #pragma GCC ivdep
      for (I j = 0; j < W; j++) t[j + 1] = sum[j] + 2 * sum[j + 1] + sum[j + 2];
      #pragma GCC ivdep
      for (I j = 0; j <= w; j++) {
        even[j] = t[2 * j] + t[2 * j + 1];
        odd[j] = t[2 * j + 1] + t[2 * j + 2];  // the last one is never read
      }
    }
  }
}

// q -> x, planes i..end
inline void adjoint(const float* q, float* x, I h, I w, I i, I end) {
  const I H = 2 * h, W = 2 * w, Q = 2 * (w + 1);
  Scratch buffer = scratch(2 * Q + W + 3);
  std::fill(buffer.get(), buffer.get() + 2 * Q + W + 3, 0.f);
  float *zero = buffer.get(), *sum = zero + Q, *t = sum + Q;
  for (; i < end; i++) {
    for (I k = 0; k < H; k++) {
      const float *b = q + (i * (H + 1) + k) * Q, *c = b + Q;
      const float *a = k ? b - Q : zero, *d = k + 1 < H ? c + Q : zero;
      const float fb = k ? 3 : 2, fc = k + 1 < H ? 3 : 2;
      #pragma GCC ivdep
      for (I j = 0; j < Q - 1; j++) sum[j] = (a[j] + fb * b[j] + fc * c[j] + d[j]) * (1.f / 64);
      const float *even = sum, *odd = sum + (w + 1);
      #pragma GCC ivdep
      for (I j = 0; j < w; j++) {
        t[2 * j + 1] = even[j] + odd[j];
        t[2 * j + 2] = odd[j] + even[j + 1];
      }
      float* out = x + (i * H + k) * W;
      #pragma GCC ivdep
      for (I j = 0; j < W; j++) out[j] = t[j] + 2 * t[j + 1] + t[j + 2];
    }
  }
}

}  // namespace smooth

namespace down {

inline void copy(const float* from, float* to, I w) {
  #pragma GCC ivdep
  for (I j = 0; j < w; j++) to[j] = from[j];
}

// q -> taps (c * 9, P) of rows r0..r1, channels c0..c1
inline void gather(const float* q, float* taps, I C, I h, I w, I r0, I r1, I c0, I c1) {
  const I P = (r1 - r0) * w;
  for (I c = c0; c < c1; c++)
    for (I r = r0; r < r1; r++)
      for (int k = 0; k < 3; k++) {
        const float* row = q + ((r / h * C + c) * (2 * h + 1) + 2 * (r % h) + k) * 2 * (w + 1);
        float* out = taps + (c * 9 + k * 3) * P + (r - r0) * w;
        copy(row, out, w);
        copy(row + (w + 1), out + P, w);
        copy(row + 1, out + 2 * P, w);
      }
}

// The adjoint of that: taps -> dq. Rows come in order, the first of an image clears its own.
inline void scatter(const float* taps, float* dq, I C, I h, I w, I r0, I r1, I c0, I c1) {
  const I P = (r1 - r0) * w;
  for (I c = c0; c < c1; c++)
    for (I r = r0; r < r1; r++)
      for (int k = 0; k < 3; k++) {
        float* even = dq + ((r / h * C + c) * (2 * h + 1) + 2 * (r % h) + k) * 2 * (w + 1);
        float* odd = even + (w + 1);
        const float* in = taps + (c * 9 + k * 3) * P + (r - r0) * w;
        if (k || r % h == 0) std::fill(even, even + 2 * (w + 1), 0.f);
        #pragma GCC ivdep
        for (I j = 0; j < w; j++) {
          even[j] += in[j];
          odd[j] += in[P + j];
        }
        #pragma GCC ivdep
        for (I j = 0; j < w; j++) even[j + 1] += in[2 * P + j];
      }
}

// Rows r0..r1 of y (n, o, h, w) <-> matrix (o, P), outputs o0..o1
inline void to_matrix(const float* y, float* matrix, I O, I h, I w, I r0, I r1, I o0, I o1) {
  for (I o = o0; o < o1; o++)
    for (I r = r0; r < r1; r++)
      copy(y + ((r / h * O + o) * h + r % h) * w, matrix + (o * (r1 - r0) + r - r0) * w, w);
}

inline void from_matrix(const float* matrix, float* y, I O, I h, I w, I r0, I r1, I o0, I o1) {
  for (I o = o0; o < o1; o++)
    for (I r = r0; r < r1; r++)
      copy(matrix + (o * (r1 - r0) + r - r0) * w, y + ((r / h * O + o) * h + r % h) * w, w);
}

// How the work is cut: in narrow layers each thread takes all steps of some images, in others all
// threads take one step after the other.
struct Cut {
  bool each;
  I images, rows;  // taken at once

  Cut(I N, I C, I O, I h, I w) : each(C * O <= 1 << 14) {
    const I columns = each ? std::max<I>(32, std::min<I>(128, N * h * w / 4)) : 256;
    images = std::max<I>(1, std::min(N, columns / (h * w)));
    rows = std::max<I>(1, std::min(images * h, columns / w));
  }
};

// Of the rows of a product that is cut for several threads: the same for up to four of them, for
// rounding depends on it.
inline I part(I n) {
  const I parts = std::max<I>(4, threads());
  return std::max<I>(16, (n + parts - 1) / parts);
}

// Of the images n..last of x, some rows at a time: f(r, end, P, taps (c * 9, P), m), m with room for
// (o, P).
template <class F>
inline void with_taps(const Cut& cut, const float* x, I n, I last, I C, I O, I h, I width,
    const F& f) {
  const I count = last - n;
  Scratch q = scratch(count * C * (2 * h + 1) * 2 * (width + 1));
  Scratch taps = scratch((9 * C + O) * cut.rows * width);
  share_unless(cut.each, count * C, 32, [&](I i, I end) {
    smooth::forward(x + n * C * 4 * h * width, q.get(), h, width, i, end);
  });
  for (I r = 0; r < count * h; r += cut.rows) {
    const I end = std::min(count * h, r + cut.rows);
    share_unless(cut.each, C, 32, [&](I c, I c1) {
      gather(q.get(), taps.get(), C, h, width, r, end, c, c1);
    });
    f(r, end, (end - r) * width, taps.get(), taps.get() + 9 * C * cut.rows * width);
  }
}

// x, w -> y
inline void conv(const float* x, const float* w, float* y, I N, I C, I O, I h, I width,
    float scale) {
  const Cut cut(N, C, O, h, width);
  share_if(cut.each, N, cut.images, [&](I n, I last) {
    with_taps(cut, x, n, last, C, O, h, width, [&](I r, I end, I P, const float* taps, float* m) {
      share_unless(cut.each, O, part(O), [&](I o, I o1) {
        dnnl_sgemm('N', 'N', o1 - o, P, 9 * C, scale, w + o * 9 * C, 9 * C, taps, P, 0.f,
            m + o * P, P);
        from_matrix(m, y + n * O * h * width, O, h, width, r, end, o, o1);
      });
    });
  });
}

// w, dy -> dx
inline void data(const float* w, const float* dy, float* dx, I N, I C, I O, I h, I width,
    float scale) {
  const Cut cut(N, C, O, h, width);
  share_if(cut.each, N, cut.images, [&](I n, I last) {
    const I count = last - n;
    Scratch dq = scratch(count * C * (2 * h + 1) * 2 * (width + 1));
    Scratch taps = scratch((9 * C + O) * cut.rows * width);
    float* m = taps.get() + 9 * C * cut.rows * width;
    for (I r = 0; r < count * h; r += cut.rows) {
      const I end = std::min(count * h, r + cut.rows), P = (end - r) * width;
      share_unless(cut.each, O, 32, [&](I o, I o1) {
        to_matrix(dy + n * O * h * width, m, O, h, width, r, end, o, o1);
      });
      share_unless(cut.each, C, part(C), [&](I c, I c1) {
        dnnl_sgemm('T', 'N', 9 * (c1 - c), P, O, scale, w + c * 9, 9 * C, m, P, 0.f,
            taps.get() + c * 9 * P, P);
        scatter(taps.get(), dq.get(), C, h, width, r, end, c, c1);
      });
    }
    share_unless(cut.each, count * C, 32, [&](I i, I end) {
      smooth::adjoint(dq.get(), dx + n * C * 4 * h * width, h, width, i, end);
    });
  });
}

// x, dy -> dw
inline void weight(const float* x, const float* dy, float* dw, I N, I C, I O, I h, I width,
    float scale) {
  const I size = O * C * 9, most = std::min<I>(count_sums(size), N * h * width / 128);
  const I part_of_images = (N + std::max<I>(1, most) - 1) / std::max<I>(1, most);
  const I sums = (N + part_of_images - 1) / part_of_images;
  Cut cut(part_of_images, C, O, h, width);
  cut.each = sums > 1;
  Scratch du = scratch(sums > 1 ? sums * size : 0);
  float* const sum = sums > 1 ? du.get() : dw;
  share_if(cut.each, N, part_of_images, [&](I first, I beyond) {
    float* place = sum + first / part_of_images * size;
    for (I n = first; n < beyond; n += cut.images)
      with_taps(cut, x, n, std::min(beyond, n + cut.images), C, O, h, width,
          [&](I r, I end, I P, const float* taps, float* m) {
            share_unless(cut.each, O, part(O), [&](I o, I o1) {
              to_matrix(dy + n * O * h * width, m, O, h, width, r, end, o, o1);
              dnnl_sgemm('N', 'T', o1 - o, 9 * C, P, scale, m + o * P, P, taps, P,
                  n + r > first ? 1.f : 0.f, place + o * 9 * C, 9 * C);
            });
          });
  });
  if (sums > 1) {
    add_up(sum, sums, size);
    copy(sum, dw, size);
  }
}

}  // namespace down
}  // namespace kernels
