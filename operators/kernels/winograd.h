// Winograd's F(2x2, 3x3) (Lavin & Gray 2016, section 4.1) for convolutions of stride 1 with padding
// 1 on images of even size: tiles of 2x2 outputs and 4x4 inputs, 16 products where the definition
// has 36. A row of tiles: r = image * h / 2 + tile row; T = w / 2 tiles are in one. C and O of
// matrices are padded; right factors of products are in panels.

#pragma once

#include "rows.h"

namespace kernels {
namespace winograd {

// From one of 16 matrices (m, n) to the next: no power of two.
inline I plane(I m, I n) { return m * n + 16; }

// G g G' of w (o, c, 3, 3): rows i0..i1 of u (16, c, o), or with `adjoint` of the kernels turned by
// 180 degrees, with inputs and outputs exchanged, u (16, o, c).
inline void kernel(const float* w, float* u, I O, I C, bool adjoint, I i0, I i1) {
  const I K = adjoint ? O : C, N = adjoint ? C : O, width = padded(N), apart = plane(K, width);
  const I along = adjoint ? 9 : C * 9, across = adjoint ? C * 9 : 9;
  for (I row = i0; row < i1; row++)
    for (I column = 0; column < width; column += LANES) {
      float g[9][LANES];
      for (int l = 0; l < LANES; l++) {
        const float* from = w + row * across + (column + l) * along;
        for (int j = 0; j < 9; j++)
          g[j][l] = column + l >= N ? 0.f : adjoint ? from[8 - j] : from[j];
      }
      Vector t[4][3];
      for (int j = 0; j < 3; j++) {
        const Vector a = load(g[j]), b = load(g[3 + j]), d = load(g[6 + j]);
        t[0][j] = a;
        t[1][j] = 0.5f * (a + b + d);
        t[2][j] = 0.5f * (a - b + d);
        t[3][j] = d;
      }
      float* out = u + in_panels(row, column, K, width);
      for (int k = 0; k < 4; k++) {
        const Vector a = t[k][0], b = t[k][1], d = t[k][2];
        store(out + (4 * k) * apart, a);
        store(out + (4 * k + 1) * apart, 0.5f * (a + b + d));
        store(out + (4 * k + 2) * apart, 0.5f * (a - b + d));
        store(out + (4 * k + 3) * apart, d);
      }
    }
}

// The adjoint of that: rows i0..i1 of du (16, c, o) -> dw (o, c, 3, 3)
inline void kernel_gradient(const float* du, float* dw, I O, I C, I i0, I i1) {
  const I width = padded(O), plane = C * width;
  for (I row = i0; row < i1; row++)
    for (I column = 0; column < width; column += LANES) {
      const float* in = du + row * width + column;
      Vector t[4][3];
      for (int k = 0; k < 4; k++) {
        const Vector a = load(in + (4 * k) * plane), b = 0.5f * load(in + (4 * k + 1) * plane),
                     d = 0.5f * load(in + (4 * k + 2) * plane), e = load(in + (4 * k + 3) * plane);
        t[k][0] = a + b + d;
        t[k][1] = b - d;
        t[k][2] = b + d + e;
      }
      float g[9][LANES];
      for (int j = 0; j < 3; j++) {
        const Vector b = 0.5f * t[1][j], d = 0.5f * t[2][j];
        store(g[j], t[0][j] + b + d);
        store(g[3 + j], b - d);
        store(g[6 + j], b + d + t[3][j]);
      }
      for (int l = 0; l < LANES && column + l < O; l++)
        for (int j = 0; j < 9; j++) dw[((column + l) * C + row) * 9 + j] = g[j][l];
    }
}

// B' d B of one row of tiles. d: four rows of pixels from column -1 to w -> v, 16 times (T, c),
// `apart` from each other
inline void input(const float* const d[4], float* v, I T, I C, I apart) {
  const I pixel = pitch(C);
  for (I c = 0; c < C; c += LANES) {
    Vector t[4][4];
    const auto column = [&](I from, int j) {
      const Vector w = load(d[0] + from * pixel + c), x = load(d[1] + from * pixel + c),
                   y = load(d[2] + from * pixel + c), z = load(d[3] + from * pixel + c);
      t[0][j] = w - y, t[1][j] = x + y, t[2][j] = y - x, t[3][j] = x - z;
    };
    column(0, 0);
    column(1, 1);
    for (I p = 0; p < T; p++) {
      column(2 * p + 2, 2);
      column(2 * p + 3, 3);
      float* out = v + p * pixel + c;
      for (int k = 0; k < 4; k++, out += 4 * apart) {
        store(out, t[k][0] - t[k][2]);
        store(out + apart, t[k][1] + t[k][2]);
        store(out + 2 * apart, t[k][2] - t[k][1]);
        store(out + 3 * apart, t[k][1] - t[k][3]);
        t[k][0] = t[k][2];
        t[k][1] = t[k][3];
      }
    }
  }
}

// A' m A of one row of tiles: m, 16 times (T, c), -> two rows of pixels (w, c)
inline void output(const float* m, float* y0, float* y1, I T, I C, I apart) {
  const I pixel = pitch(C);
  for (I p = 0; p < T; p++)
    for (I c = 0; c < C; c += LANES) {
      Vector s[4], v[4];
      for (int l = 0; l < 4; l++) {
        const float* in = m + l * apart + p * pixel + c;
        const Vector a = load(in), b = load(in + 4 * apart), d = load(in + 8 * apart),
                     e = load(in + 12 * apart);
        s[l] = a + b + d;
        v[l] = b - d - e;
      }
      const I place = 2 * p * pixel + c;
      store(y0 + place, s[0] + s[1] + s[2]);
      store(y0 + place + pixel, s[1] - s[2] - s[3]);
      store(y1 + place, v[0] + v[1] + v[2]);
      store(y1 + place + pixel, v[1] - v[2] - v[3]);
    }
}

// The adjoint of that: two rows of pixels (w, c) -> dm, 16 times rows r to r + T of (P, c) in panels
inline void output_gradient(const float* y0, const float* y1, float* dm, I T, I C, I r, I P) {
  const I pixel = pitch(C), apart = plane(P, C);
  for (I p = 0; p < T; p++)
    for (I c = 0; c < C; c += LANES) {
      const I place = 2 * p * pixel + c;
      const Vector a = load(y0 + place), b = load(y0 + place + pixel), d = load(y1 + place),
                   e = load(y1 + place + pixel);
      const Vector s[4] = {a, a + d, a - d, -d}, v[4] = {b, b + e, b - e, -e};
      float* out = dm + in_panels(r + p, c, P, C);
      for (int k = 0; k < 4; k++, out += 4 * apart) {
        store(out, s[k]);
        store(out + apart, s[k] + v[k]);
        store(out + 2 * apart, s[k] - v[k]);
        store(out + 3 * apart, -v[k]);
      }
    }
}

// Rows r..end of x (n, c, h, w) -> v, 16 times (P, c) whose first row is r0's
inline void inputs(const float* x, float* v, I C, I H, I W, I r0, I P, I r, I end) {
  const I T = W / 2, R = H / 2, lanes = padded(C), size = (W + 2) * pitch(C);
  Scratch buffer = scratch(5 * size);  // a row of zeros, and four that wander down an image
  std::fill(buffer.get(), buffer.get() + size, 0.f);
  float* held[4];
  for (int i = 0; i < 4; i++) {
    held[i] = buffer.get() + (i + 1) * size;
    std::fill(held[i], held[i] + pitch(C), 0.f);
    std::fill(held[i] + size - pitch(C), held[i] + size, 0.f);
  }
  for (I first = r; r < end; r++) {
    const I i = r % R;
    const float* image = x + r / R * C * H * W;
    const auto fetch = [&](I row, float* to) {
      row_from_planes(image + row * W, to + pitch(C), C, H * W, W);
    };
    if (r > first && i) {  // two of them are known
      std::swap(held[0], held[2]);
      std::swap(held[1], held[3]);
    } else {
      if (i) fetch(2 * i - 1, held[0]);
      fetch(2 * i, held[1]);
    }
    fetch(2 * i + 1, held[2]);
    if (i + 1 < R) fetch(2 * i + 2, held[3]);
    const float* d[4] = {i ? held[0] : buffer.get(), held[1], held[2],
        i + 1 < R ? held[3] : buffer.get()};
    input(d, v + (r - r0) * T * pitch(C), T, lanes, plane(P, pitch(C)));
  }
}

// Rows r..end of m, 16 times (P, c) -> y (n, c, h, w)
inline void outputs(const float* m, float* y, I C, I H, I W, I r0, I P, I r, I end) {
  const I T = W / 2, R = H / 2, size = W * pitch(C);
  Scratch two = scratch(2 * size);
  for (; r < end; r++) {
    output(m + (r - r0) * T * pitch(C), two.get(), two.get() + size, T, padded(C),
        plane(P, pitch(C)));
    float* to = y + (r / R * C * H + 2 * (r % R)) * W;
    row_to_planes(two.get(), to, C, H * W, W);
    row_to_planes(two.get() + size, to + W, C, H * W, W);
  }
}

// The adjoint of that: dy (n, c, h, w) -> dm
inline void output_gradients(const float* dy, float* dm, I C, I H, I W, I r0, I P, I r, I end) {
  const I T = W / 2, R = H / 2, size = W * pitch(C);
  Scratch two = scratch(2 * size);
  for (; r < end; r++) {
    const float* from = dy + (r / R * C * H + 2 * (r % R)) * W;
    row_from_planes(from, two.get(), C, H * W, W);
    row_from_planes(from + W, two.get() + size, C, H * W, W);
    output_gradient(two.get(), two.get() + size, dm, T, padded(C), (r - r0) * T, P);
  }
}

// x (n, c, h, w) -> y (n, o, h, w). w: the kernels of the convolution, or with `adjoint` those of
// the one that this is the adjoint of.
inline void products(const float* x, const float* w, float* y, I N, I C, I O, I H, I W,
    float scale, bool adjoint) {
  const I T = W / 2, rows = N * H / 2, o = padded(O), u_size = plane(C, o);
  Scratch u = scratch(16 * u_size);
  share(C, std::max<I>(1, 4096 / o), [&](I i, I end) {
    kernel(w, u.get(), adjoint ? C : O, adjoint ? O : C, adjoint, i, end);
  });
  share(rows, rows_at_once(rows, T), [&](I r, I end) {
    const I P = (end - r) * T, v_size = plane(P, pitch(C)), m_size = plane(P, pitch(O));
    Scratch v = scratch(16 * (v_size + m_size));
    float* m = v.get() + 16 * v_size;
    inputs(x, v.get(), C, H, W, r, P, r, end);
    for (I k = 0; k < 16; k++)
      multiply(false, P, o, C, scale, v.get() + k * v_size, pitch(C), u.get() + k * u_size, false,
          m + k * m_size, pitch(O));
    outputs(m, y, O, H, W, r, P, r, end);
  });
}

// x (n, c, h, w), w (o, c, 3, 3) -> y (n, o, h, w)
inline void conv(const float* x, const float* w, float* y, I N, I C, I O, I H, I W, float scale) {
  products(x, w, y, N, C, O, H, W, scale, false);
}

// w (o, c, 3, 3), dy (n, o, h, w) -> dx (n, c, h, w)
inline void data(const float* w, const float* dy, float* dx, I N, I C, I O, I H, I W,
    float scale) {
  products(dy, w, dx, N, O, C, H, W, scale, true);
}

// x (n, c, h, w), dy (n, o, h, w) -> dw (o, c, 3, 3)
inline void weight(const float* x, const float* dy, float* dw, I N, I C, I O, I H, I W,
    float scale) {
  const I T = W / 2, rows = N * H / 2, o = padded(O), size = 16 * C * o, sums = count_sums(size);
  const I part = (rows + sums - 1) / sums;
  // Several sums: each of one thread. One: all threads take one step after the other.
  const bool each = sums > 1;
  const I step = rows_at_once(part, T, each ? PIXELS_AT_ONCE : 4 * PIXELS_AT_ONCE);
  Scratch du = scratch(sums * size);
  share_if(each, sums, 1, [&](I i, I) {
    const I first = i * part, beyond = std::min(rows, first + part);
    float* sum = du.get() + i * size;
    if (first >= beyond) std::fill(sum, sum + size, 0.f);
    Scratch v = scratch(16 * (plane(step * T, pitch(C)) + plane(step * T, o)));
    for (I r = first; r < beyond; r += step) {
      const I end = std::min(beyond, r + step), P = (end - r) * T, v_size = plane(P, pitch(C));
      float* dm = v.get() + 16 * v_size;
      share_unless(each, end - r, std::max<I>(1, 32 / T), [&](I j, I j1) {
        inputs(x, v.get(), C, H, W, r, P, r + j, r + j1);
        output_gradients(dy, dm, O, H, W, r, P, r + j, r + j1);
      });
      share_unless(each, 16, 1, [&](I k, I k1) {
        for (; k < k1; k++)
          multiply(true, C, o, P, scale, v.get() + k * v_size, pitch(C), dm + k * plane(P, o),
              r > first, sum + k * C * o, o);
      });
    }
  });
  if (each) add_up(du.get(), sums, size);
  share(C, std::max<I>(1, 4096 / o), [&](I i, I end) {
    kernel_gradient(du.get(), dw, O, C, i, end);
  });
}

}  // namespace winograd
}  // namespace kernels
