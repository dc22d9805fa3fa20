// Pixel norm and minibatch stddev: few numbers, by one thread.

#pragma once

#include <cmath>
#include <vector>

#include "pool.h"

namespace kernels {

const float EPS = 1e-8f;

namespace pixel_norm {

// 1 / sqrt(mean of squares + EPS) of c numbers
inline float scale(const float* x, I C) {
  float squares = 0;
  for (I i = 0; i < C; i++) squares += x[i] * x[i];
  return 1 / std::sqrt(squares / C + EPS);
}

// x (n, c) -> y
inline void forward(const float* x, float* y, I N, I C) {
  for (; N--; x += C, y += C) {
    const float s = scale(x, C);
    for (I i = 0; i < C; i++) y[i] = s * x[i];
  }
}

// x, dy -> dx
inline void gradient(const float* x, const float* dy, float* dx, I N, I C) {
  for (; N--; x += C, dy += C, dx += C) {
    const float s = scale(x, C);
    float along = 0;
    for (I i = 0; i < C; i++) along += x[i] * dy[i];
    along *= s * s / C;
    for (I i = 0; i < C; i++) dx[i] = s * (dy[i] - along * x[i]);
  }
}

}  // namespace pixel_norm

namespace stddev {

typedef std::vector<float> Numbers;

// Groups of `members` images: images i * groups + g make group g. x (members * groups, c, plane); a
// channel more where it is appended.
struct Images {
  const float* x;
  I members, groups, C, plane;

  I size() const { return C * plane; }
  I place(I g, I i) const { return (i * groups + g) * size(); }
  I appended(I g, I i) const { return (i * groups + g) * (size() + plane); }

  // Of each number of a group's images: mean and deviation
  void moments(I g, Numbers& mean, Numbers& deviation) const {
    mean.assign(size(), 0);
    deviation.assign(size(), 0);
    for (I i = 0; i < members; i++)
      for (I p = 0; p < size(); p++) mean[p] += x[place(g, i) + p];
    for (float& m : mean) m /= members;
    for (I i = 0; i < members; i++)
      for (I p = 0; p < size(); p++) {
        const float d = x[place(g, i) + p] - mean[p];
        deviation[p] += d * d;
      }
    for (float& d : deviation) d = std::sqrt(d / members + EPS);
  }

  // What the mean deviation gets from the appended channel's dy, for each number of the group
  float share(I g, const float* dy) const {
    double sum = 0;
    for (I i = 0; i < members; i++)
      for (I p = 0; p < plane; p++) sum += dy[appended(g, i) + size() + p];
    return sum / (size() * members);
  }
};

// x -> y (n, c + 1, plane): the mean deviation of its group is each image's last channel
inline void forward(const Images& x, float* y) {
  Numbers mean, deviation;
  for (I g = 0; g < x.groups; g++) {
    x.moments(g, mean, deviation);
    double sum = 0;
    for (float d : deviation) sum += d;
    for (I i = 0; i < x.members; i++) {
      float* last = std::copy_n(x.x + x.place(g, i), x.size(), y + x.appended(g, i));
      std::fill_n(last, x.plane, float(sum / x.size()));
    }
  }
}

// dy -> dx
inline void gradient(const Images& x, const float* dy, float* dx) {
  Numbers mean, deviation;
  for (I g = 0; g < x.groups; g++) {
    x.moments(g, mean, deviation);
    const float share = x.share(g, dy);
    for (I i = 0; i < x.members; i++) {
      const float *in = x.x + x.place(g, i), *d = dy + x.appended(g, i);
      float* out = dx + x.place(g, i);
      for (I p = 0; p < x.size(); p++) out[p] = d[p] + share / deviation[p] * (in[p] - mean[p]);
    }
  }
}

// v, of dx's size -> what dy and what x get of the product of v and dx
inline void second(const Images& x, const float* dy, const float* v, float* ddy, float* dx) {
  Numbers mean, deviation;
  for (I g = 0; g < x.groups; g++) {
    x.moments(g, mean, deviation);
    Numbers of_v(x.size()), along(x.size());
    for (I i = 0; i < x.members; i++) {
      const float *in = x.x + x.place(g, i), *from = v + x.place(g, i);
      std::copy_n(from, x.size(), ddy + x.appended(g, i));
      for (I p = 0; p < x.size(); p++) {
        of_v[p] += from[p];
        along[p] += from[p] * (in[p] - mean[p]);
      }
    }
    double sum = 0;
    for (I p = 0; p < x.size(); p++) {
      sum += along[p] / deviation[p];
      of_v[p] /= x.members;
      along[p] /= x.members * deviation[p] * deviation[p];
    }
    const float share = x.share(g, dy);
    for (I i = 0; i < x.members; i++) {
      const float *in = x.x + x.place(g, i), *from = v + x.place(g, i);
      float* out = dx + x.place(g, i);
      for (I p = 0; p < x.size(); p++)
        out[p] = share / deviation[p] * (from[p] - of_v[p] - along[p] * (in[p] - mean[p]));
      std::fill_n(ddy + x.appended(g, i) + x.size(), x.plane, float(sum / (x.size() * x.members)));
    }
  }
}

}  // namespace stddev
}  // namespace kernels
