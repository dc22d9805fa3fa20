// What stands around the convolutions on a GPU, as ../layers.h has it on a CPU.

#include "blocks.cuh"
#include "launch.cuh"

#include <algorithm>

namespace layers {

using namespace blocks;

__device__ inline float relu(float x, float slope = 0.2f) { return fmaxf(x, slope * x); }
__device__ inline float bent(float y, float slope = 0.2f) { return y > 0 ? 1.f : slope; }

// What a block makes of its part of a plane, see styled::Layer in ../layers.h
struct Layer {
  const float *x, *bias, *strength, *noise, *style;  // (n, c, h, w), (c), (c), (n, h, w), (n, 2, c)
  int C, H, W;
  float eps;
  int kind;              // of bias: none, plain, blurred with its image
  float factor, weight;  // of x and of the noise's strength

  __device__ I size() const { return (I)H * W; }
  __device__ I gamma() const { return blockIdx.x / C * 2 * C + blockIdx.x % C; }
  __device__ I here() const { return blockIdx.x * size(); }
  __device__ int part() const { return blockIdx.x * gridDim.y + blockIdx.y; }  // of all
  __device__ int begin() const { return blockIdx.y * PLANE + threadIdx.x; }
  __device__ int end() const { return min(int(blockIdx.y + 1) * PLANE, H * W); }

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

  // Of this and, where it is given, dy: in the block's part or, from those of all, in its plane
  __device__ Moments moments(const float* dy, const Moments* parts = nullptr) const {
    Moments found = {};
    if (parts)
      for (int i = threadIdx.x; i < gridDim.y; i += blockDim.x)
        found.add(parts[blockIdx.x * gridDim.y + i]);
    else
      for (int i = begin(); i < end(); i += blockDim.x)
        found.add((*this)(i), dy ? dy[here() + i] : 0);
    return of_block(found);
  }
};

// A row of blocks for each plane, each does a part of it: what they find, one after another
__launch_bounds__(MOST_THREADS) __global__ void plane_moments(Layer z, const float* dy,
    Moments* parts) {
  const Moments found = z.moments(dy);
  if (threadIdx.x == 0) parts[z.part()] = found;
}

// parts: of plane_moments, or null where one block has the whole plane
__launch_bounds__(MOST_THREADS) __global__ void style_planes(Layer z, const Moments* parts,
    float* y) {
  const Moments moments = z.moments(nullptr, parts);
  const float scale = z.style[z.gamma()] / sqrtf(moments.squares / z.size() + z.eps);
  const float beta = z.style[z.gamma() + z.C];
  for (int i = z.begin(); i < z.end(); i += blockDim.x)
    y[z.here() + i] = scale * (z(i) - moments.x) + beta;
}

// dbias, dstrength (n, c, parts): what they get from each part of each image
__launch_bounds__(MOST_THREADS) __global__ void style_gradient(Layer z, const float* dy,
    const Moments* parts, float* dx, float* dstyle, float* dbias, float* dstrength) {
  const Moments moments = z.moments(dy, parts);
  const float scale = 1 / sqrtf(moments.squares / z.size() + z.eps);
  if (threadIdx.x == 0 && blockIdx.y == 0) {
    dstyle[z.gamma()] = moments.products * scale;
    dstyle[z.gamma() + z.C] = moments.d * z.size();
  }
  const float factor = z.style[z.gamma()] * scale;
  const float along = moments.products * scale * scale / z.size();
  Sum of_bias = {}, of_strength = {};
  for (int i = z.begin(); i < z.end(); i += blockDim.x) {
    const float value = z(i), d = dy[z.here() + i] - moments.d - along * (value - moments.x);
    const float d_here = factor * d * bent(value);
    dx[z.here() + i] = z.factor * d_here;
    of_bias.value += d_here * z.edge(i);
    of_strength.value += d_here * z.random(i);
  }
  const float all_of_bias = of_block(of_bias), all_of_strength = of_block(of_strength);
  if (threadIdx.x == 0) {
    dbias[z.part()] = all_of_bias;
    dstrength[z.part()] = z.weight * all_of_strength;
  }
}

// x (n, c, size), bias (c)
__global__ void add_and_bend(const float* x, const float* bias, float* y, int C, I size, I total,
    float factor, float slope) {
  const I i = blockIdx.x * (I)blockDim.x + threadIdx.x;
  if (i < total) y[i] = relu(factor * x[i] + bias[i / size % C], slope);
}

// A row of blocks for each channel: dx, and what its bias gets from each of them, sums (c, blocks)
__launch_bounds__(MOST_THREADS) __global__ void bent_gradient(const float* y, const float* dy,
    float* dx, float* sums, int N, int C, int size, float factor, float slope) {
  const int end = min(int(blockIdx.y + 1) * PART, N * size);
  Sum sum = {};
  for (int j = blockIdx.y * PART + threadIdx.x; j < end; j += blockDim.x) {
    const I i = (j / size * (I)C + blockIdx.x) * size + j % size;
    const float d = dy[i] * bent(y[i], slope);
    sum.value += d;
    dx[i] = factor * d;
  }
  const float all = of_block(sum);
  if (threadIdx.x == 0) sums[blockIdx.x * gridDim.y + blockIdx.y] = all;
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

// How many planes, their parts, and the threads of a block
struct Planes {
  int count, parts, threads;

  explicit Planes(const double* numbers) {
    const int size = numbers[2] * numbers[3];
    count = numbers[0] * numbers[1], parts = blocks::parts_of(size, blocks::PLANE);
    threads = blocks::threads_for(std::min(size, blocks::PLANE));
  }
  dim3 grid() const { return dim3(count, parts); }
};

void styled_forward(const float* const* from, float* const* to, const double* numbers) {
  using namespace layers;
  const Planes planes(numbers);
  const Layer z = layer_of(from, numbers);
  Moments* parts = planes.parts > 1 ? (Moments*)to[1] : nullptr;
  if (parts) LAUNCH(plane_moments, planes.grid(), planes.threads, z, nullptr, parts);
  LAUNCH(style_planes, planes.grid(), planes.threads, z, parts, to[0]);
}

void styled_gradient(const float* const* from, float* const* to, const double* numbers) {
  using namespace layers;
  const Planes planes(numbers);
  const Layer z = layer_of(from, numbers);
  const bool divided = planes.parts > 1;
  Moments* parts = nullptr;
  float* sums[] = {to[2], to[3]};
  if (divided) {
    const I all = planes.count * planes.parts;
    parts = (Moments*)to[4];
    sums[0] = (float*)(parts + all), sums[1] = sums[0] + all;
    LAUNCH(plane_moments, planes.grid(), planes.threads, z, from[5], parts);
  }
  LAUNCH(style_gradient, planes.grid(), planes.threads, z, from[5], parts, to[0], to[1], sums[0],
      sums[1]);
  for (int i = 0; divided && i < 2; i++)
    LAUNCH(add_parts, planes.count, threads_for(planes.parts), sums[i], to[2 + i], planes.parts);
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
  const int n = numbers[0], c = numbers[1], size = numbers[2], parts = parts_of(n * size, PART);
  float* sums = parts > 1 ? to[2] : to[1];
  LAUNCH(bent_gradient, dim3(c, parts), threads_for(std::min(n * size, PART)), from[0], from[1],
      to[0], sums, n, c, size, numbers[3], numbers[4]);
  if (parts > 1) LAUNCH(add_parts, c, threads_for(parts), sums, to[1], parts);
}

// Numbers: how many, factor, slope
void biased_slope(const float* const* from, float* const* to, const double* numbers) {
  using namespace layers;
  LAUNCH(bend, for_each(numbers[0]), 256, from[0], from[1], to[0], numbers[0], numbers[1],
      numbers[2]);
}
