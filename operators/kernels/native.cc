// What Python calls. An operator takes arrays of float32 and then numbers, see the functions.

#include "down.h"
#include "layers.h"
#include "norms.h"
#include "updates.h"
#include "winograd.h"

using namespace kernels;

#define OPERATOR(name, function, ...)                                             \
  void name(const float* const* in, float* const* out, const double* numbers) {   \
    Alone alone;                                                                  \
    const auto n = [&](int i) { return I(numbers[i]); };                          \
    function(__VA_ARGS__);                                                        \
  }

// Operators of x, w, dy and the sizes n, c, o, h, w, then the scale
#define CONVOLUTION(name)                                                         \
  OPERATOR(name##_conv, name::conv, in[0], in[1], out[0], n(0), n(1), n(2), n(3), \
      n(4), numbers[5])                                                           \
  OPERATOR(name##_data, name::data, in[0], in[1], out[0], n(0), n(1), n(2), n(3), \
      n(4), numbers[5])                                                           \
  OPERATOR(name##_weight, name::weight, in[0], in[1], out[0], n(0), n(1), n(2),   \
      n(3), n(4), numbers[5])

extern "C" {

CONVOLUTION(winograd)
CONVOLUTION(down)
CONVOLUTION(pointwise)

OPERATOR(matmul_, matmul, in[0], in[1], out[0], n(0), n(1), n(2), n(3), n(4),
    numbers[5])
OPERATOR(biased_slope, biased::slopes, in[0], in[1], out[0], n(0), numbers[1], numbers[2])
OPERATOR(biased_forward, biased::forward, in[0], in[1], out[0], n(0), n(1), n(2), numbers[3],
    numbers[4])
OPERATOR(biased_gradient, biased::gradient, in[0], in[1], out[0], out[1], n(0), n(1), n(2),
    numbers[3], numbers[4])
#define LAYER \
  styled::Layer{in[0], in[1], in[2], in[3], in[4], n(0), n(1), n(2), n(3), float(numbers[4]), \
      styled::Bias(n(5)), float(numbers[6]), float(numbers[7])}
OPERATOR(styled_forward, styled::forward, LAYER, out[0])
OPERATOR(styled_gradient, styled::gradient, LAYER, in[5], out[0], out[1], out[2], out[3])
OPERATOR(pixel_norm_forward, pixel_norm::forward, in[0], out[0], n(0), n(1))
OPERATOR(pixel_norm_gradient, pixel_norm::gradient, in[0], in[1], out[0], n(0), n(1))
#define IMAGES stddev::Images{in[0], n(0), n(1), n(2), n(3)}
OPERATOR(stddev_forward, stddev::forward, IMAGES, out[0])
OPERATOR(stddev_gradient, stddev::gradient, IMAGES, in[1], out[0])
OPERATOR(stddev_second, stddev::second, IMAGES, in[1], in[2], out[0], out[1])

// How many threads take part from now on.
void set_threads(int threads) { Pool::get().resize(threads); }

void adam_(I count, const I* sizes, float* const* p, float* const* v, const float* const* g,
    const float* rates, const float* corrections, float beta2, float eps) {
  adam(count, sizes, p, v, g, rates, corrections, beta2, eps);
}

void average_(I count, const I* sizes, float* const* r, const float* const* p, float part) {
  average(count, sizes, r, p, part);
}

}  // extern "C"
