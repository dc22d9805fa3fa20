// What stands around the convolutions on a GPU, as ../layers.h has it on a CPU.

#include "blocks.cuh"
#include "launch.cuh"

namespace layers {

using namespace blocks;

__device__ inline float relu(float x, float slope = 0.2f) { return fmaxf(x, slope * x); }
__device__ inline float bent(float y, float slope = 0.2f) { return y > 0 ? 1.f : slope; }

// What a block makes of its plane, see styled::Layer in ../layers.h
struct Layer {
  const float *x, *bias, *strength, *noise, *style;  // (n, c, h, w), (c), (c), (n, h, w), (n, 2, c)
  int C, H, W;
  float eps;
  int kind;              // of bias: none, plain, blurred with its image
  float factor, weight;  // of x and of the noise's strength

  __device__ I size() const { return (I)H * W; }
  __device__ I gamma() const { return blockIdx.x / C * 2 * C + blockIdx.x % C; }
  __device__ I here() const { return blockIdx.x * size(); }

  // How much of the bias is in a pixel
  __device__ float edge(int i) const {
    if (kind != 2) return kind;
    const int row = i / W, column = i % W;
    return (1 - 0.25f * (row == 0) - 0.25f * (row == H - 1)) *
        (1 - 0.25f * (column == 0) - 0.25f * (column == W - 1));
  }
  __device__ float random(int i) const { return noise[blockIdx.x / C * size() + i]; }
  __device__ float operator()(int i) const {
    const int channel = blockIdx.x % C;
    float z = factor * x[here() + i] + weight * strength[channel] * random(i);
    if (kind) z += bias[channel] * edge(i);
    return relu(z);
  }
};

__launch_bounds__(MOST_THREADS) __global__ void style_planes(Layer z, float* y) {
  Moments moments = {};
  for (int i = threadIdx.x; i < z.size(); i += blockDim.x) moments.add(z(i), 0);
  moments = of_block(moments);
  const float scale = z.style[z.gamma()] / sqrtf(moments.squares / z.size() + z.eps);
  const float beta = z.style[z.gamma() + z.C];
  for (int i = threadIdx.x; i < z.size(); i += blockDim.x)
    y[z.here() + i] = scale * (z(i) - moments.x) + beta;
}

// dbias, dstrength (n, c): what they get from each image
__launch_bounds__(MOST_THREADS) __global__ void style_gradient(Layer z, const float* dy,
    float* dx, float* dstyle, float* dbias, float* dstrength) {
  Moments moments = {};
  for (int i = threadIdx.x; i < z.size(); i += blockDim.x) moments.add(z(i), dy[z.here() + i]);
  moments = of_block(moments);
  const float scale = 1 / sqrtf(moments.squares / z.size() + z.eps);
  if (threadIdx.x == 0) {
    dstyle[z.gamma()] = moments.products * scale;
    dstyle[z.gamma() + z.C] = moments.d * z.size();
  }
  const float factor = z.style[z.gamma()] * scale;
  const float along = moments.products * scale * scale / z.size();
  Sum of_bias = {}, of_strength = {};
  for (int i = threadIdx.x; i < z.size(); i += blockDim.x) {
    const float value = z(i), d = dy[z.here() + i] - moments.d - along * (value - moments.x);
    const float d_here = factor * d * bent(value);
    dx[z.here() + i] = z.factor * d_here;
    of_bias.value += d_here * z.edge(i);
    of_strength.value += d_here * z.random(i);
  }
  of_bias = of_block(of_bias);
  __syncthreads();
  of_strength = of_block(of_strength);
  if (threadIdx.x == 0) {
    dbias[blockIdx.x] = of_bias.value;
    dstrength[blockIdx.x] = z.weight * of_strength.value;
  }
}

// x (n, c, size), bias (c)
__global__ void add_and_bend(const float* x, const float* bias, float* y, int C, I size, I total,
    float factor, float slope) {
  const I i = blockIdx.x * (I)blockDim.x + threadIdx.x;
  if (i < total) y[i] = relu(factor * x[i] + bias[i / size % C], slope);
}

// One block for each channel
__launch_bounds__(MOST_THREADS) __global__ void bent_gradient(const float* y, const float* dy,
    float* dx, float* dbias, int N, int C, I size, float factor, float slope) {
  Sum sum = {};
  for (int n = 0; n < N; n++) {
    const I plane = (n * (I)C + blockIdx.x) * size;
    float part = 0;
    for (I i = plane + threadIdx.x; i < plane + size; i += blockDim.x) {
      const float d = dy[i] * bent(y[i], slope);
      part += d;
      dx[i] = factor * d;
    }
    sum.value += part;
  }
  sum = of_block(sum);
  if (threadIdx.x == 0) dbias[blockIdx.x] = sum.value;
}

__global__ void bend(const float* y, const float* dy, float* dx, I total, float factor,
    float slope) {
  const I i = blockIdx.x * (I)blockDim.x + threadIdx.x;
  if (i < total) dx[i] = factor * dy[i] * bent(y[i], slope);
}

}  // namespace layers

// Of x, bias, strength, noise, style; numbers: n, c, h, w, eps, kind of bias, factors
layers::Layer layer_of(const float* const* from, const double* numbers) {
  const int c = numbers[1], h = numbers[2], w = numbers[3], kind = numbers[5];
  return {from[0], from[1], from[2], from[3], from[4], c, h, w, (float)numbers[4], kind,
      (float)numbers[6], (float)numbers[7]};
}

void styled_forward(const float* const* from, float* const* to, const double* numbers) {
  using namespace layers;
  const int planes = numbers[0] * numbers[1], threads = threads_for(numbers[2] * numbers[3]);
  LAUNCH(style_planes, planes, threads, layer_of(from, numbers), to[0]);
}

void styled_gradient(const float* const* from, float* const* to, const double* numbers) {
  using namespace layers;
  const int planes = numbers[0] * numbers[1], threads = threads_for(numbers[2] * numbers[3]);
  LAUNCH(style_gradient, planes, threads, layer_of(from, numbers), from[5], to[0], to[1], to[2],
      to[3]);
}

// Numbers: n, c, size, factor, slope
void biased_forward(const float* const* from, float* const* to, const double* numbers) {
  using namespace layers;
  const I size = numbers[2], total = numbers[0] * numbers[1] * size;
  LAUNCH(add_and_bend, for_each(total), 256, from[0], from[1], to[0], numbers[1], size, total,
      numbers[3], numbers[4]);
}

void biased_gradient(const float* const* from, float* const* to, const double* numbers) {
  using namespace layers;
  const I size = numbers[2];
  LAUNCH(bent_gradient, numbers[1], threads_for(size * (I)numbers[0]), from[0], from[1], to[0],
      to[1], numbers[0], numbers[1], size, numbers[3], numbers[4]);
}

// Numbers: how many, factor, slope
void biased_slope(const float* const* from, float* const* to, const double* numbers) {
  using namespace layers;
  LAUNCH(bend, for_each(numbers[0]), 256, from[0], from[1], to[0], numbers[0], numbers[1],
      numbers[2]);
}
