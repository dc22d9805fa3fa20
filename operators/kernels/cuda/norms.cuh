// Pixel norm, minibatch stddev and plain sums on a GPU, as ../norms.h has them on a CPU.

#include "blocks.cuh"
#include "launch.cuh"

namespace norms {

using namespace blocks;

const float EPS = 1e-8f;

// x (n, c): a block for each of n
__launch_bounds__(MOST_THREADS) __global__ void pixel_norms(const float* x, float* y, int C) {
  const I row = blockIdx.x * (I)C;
  Sum squares = {};
  for (int i = threadIdx.x; i < C; i += blockDim.x) squares.value += x[row + i] * x[row + i];
  const float scale = 1 / sqrtf(of_block(squares).value / C + EPS);
  for (int i = threadIdx.x; i < C; i += blockDim.x) y[row + i] = scale * x[row + i];
}

__launch_bounds__(MOST_THREADS) __global__ void pixel_norm_gradients(const float* x,
    const float* dy, float* dx, int C) {
  const I row = blockIdx.x * (I)C;
  Sum squares = {}, products = {};
  for (int i = threadIdx.x; i < C; i += blockDim.x) {
    squares.value += x[row + i] * x[row + i];
    products.value += x[row + i] * dy[row + i];
  }
  squares = of_block(squares);
  __syncthreads();
  products = of_block(products);
  const float scale = 1 / sqrtf(squares.value / C + EPS);
  const float along = scale * scale * products.value / C;
  for (int i = threadIdx.x; i < C; i += blockDim.x)
    dx[row + i] = scale * (dy[row + i] - along * x[row + i]);
}

// x (n, c, plane): a block for each group, of images i * groups + its number
struct Group {
  const float* x;
  int members, groups, C, plane;

  __device__ int size() const { return C * plane; }
  __device__ I image(int i) const { return i * groups + blockIdx.x; }
  __device__ float at(int i, int place) const { return x[image(i) * size() + place]; }
  // Where the appended channel has y or dy (n, c + 1, plane)
  __device__ I place(int i, int place) const { return image(i) * (size() + plane) + place; }
  __device__ float mean(int place) const {
    float sum = 0;
    for (int i = 0; i < members; i++) sum += at(i, place);
    return sum / members;
  }
  __device__ float deviation(int place, float mean) const {
    float sum = 0;
    for (int i = 0; i < members; i++) sum += (at(i, place) - mean) * (at(i, place) - mean);
    return sqrtf(sum / members + EPS);
  }
  // What the mean deviation gets
  __device__ float of_channel(const float* dy) const {
    Sum sum = {};
    for (int i = threadIdx.x; i < members * plane; i += blockDim.x)
      sum.value += dy[place(i / plane, size() + i % plane)];
    return of_block(sum).value / ((float)size() * members);
  }
  __device__ void fill_channel(float* y, float value) const {
    for (int i = threadIdx.x; i < members * plane; i += blockDim.x)
      y[place(i / plane, size() + i % plane)] = value;
  }
};

__launch_bounds__(MOST_THREADS) __global__ void deviations(Group group, float* y) {
  Sum sum = {};
  for (int p = threadIdx.x; p < group.size(); p += blockDim.x) {
    sum.value += group.deviation(p, group.mean(p));
    for (int i = 0; i < group.members; i++) y[group.place(i, p)] = group.at(i, p);
  }
  group.fill_channel(y, of_block(sum).value / group.size());
}

__launch_bounds__(MOST_THREADS) __global__ void deviation_gradients(Group group, const float* dy,
    float* dx) {
  const float part = group.of_channel(dy);
  for (int p = threadIdx.x; p < group.size(); p += blockDim.x) {
    const float mean = group.mean(p), factor = part / group.deviation(p, mean);
    for (int i = 0; i < group.members; i++)
      dx[group.image(i) * group.size() + p] =
          dy[group.place(i, p)] + factor * (group.at(i, p) - mean);
  }
}

// v, of dx's size -> what dy and what x get of the product of v and dx
__launch_bounds__(MOST_THREADS) __global__ void deviation_second(Group group, const float* dy,
    const float* v, float* ddy, float* dx) {
  const float part = group.of_channel(dy);
  __syncthreads();
  const int members = group.members;
  Sum sum = {};
  for (int p = threadIdx.x; p < group.size(); p += blockDim.x) {
    const float mean = group.mean(p), scale = 1 / group.deviation(p, mean);
    float of_v = 0, along = 0;
    for (int i = 0; i < members; i++) {
      const float d = v[group.image(i) * group.size() + p];
      ddy[group.place(i, p)] = d;
      of_v += d;
      along += d * (group.at(i, p) - mean);
    }
    sum.value += along * scale;
    of_v /= members;
    along *= scale * scale / members;
    for (int i = 0; i < members; i++) {
      const I here = group.image(i) * group.size() + p;
      dx[here] = part * scale * (v[here] - of_v - along * (group.at(i, p) - mean));
    }
  }
  group.fill_channel(ddy, of_block(sum).value / ((float)group.size() * members));
}

// Up to two arrays of one shape, a row of blocks for each
struct Two {
  const float* x[2];
  float* y[2];
};

// x (n, m) -> (n)
__launch_bounds__(MOST_THREADS) __global__ void row_totals(Two two, I m) {
  const float* x = two.x[blockIdx.y];
  float* y = two.y[blockIdx.y];
  Sum sum = {};
  for (I i = threadIdx.x; i < m; i += blockDim.x) sum.value += x[blockIdx.x * m + i];
  sum = of_block(sum);
  if (threadIdx.x == 0) y[blockIdx.x] = sum.value;
}

// x (n, m, k) -> (n, k)
__global__ void column_totals(Two two, I m, I k, I total) {
  const float* x = two.x[blockIdx.y];
  float* y = two.y[blockIdx.y];
  const I i = blockIdx.x * (I)blockDim.x + threadIdx.x;
  if (i >= total) return;
  double sum = 0;
  for (I j = 0; j < m; j++) sum += x[(i / k * m + j) * k + i % k];
  y[i] = sum;
}

}  // namespace norms

// Numbers: n, c
void pixel_norm_forward(const float* const* from, float* const* to, const double* numbers) {
  LAUNCH(norms::pixel_norms, numbers[0], blocks::threads_for(numbers[1]), from[0], to[0],
      numbers[1]);
}

void pixel_norm_gradient(const float* const* from, float* const* to, const double* numbers) {
  using namespace norms;
  LAUNCH(pixel_norm_gradients, numbers[0], threads_for(numbers[1]), from[0], from[1], to[0],
      numbers[1]);
}

// Numbers: images of a group, groups, c, numbers of a plane
norms::Group group_of(const float* const* from, const double* numbers) {
  return {from[0], (int)numbers[0], (int)numbers[1], (int)numbers[2], (int)numbers[3]};
}

// All of a multiprocessor's: there are few groups
int threads_of(const norms::Group& group) {
  const int size = group.C * group.plane, most = blocks::MOST_THREADS;
  return size < most ? blocks::threads_for(size) : most;
}

void stddev_forward(const float* const* from, float* const* to, const double* numbers) {
  const norms::Group group = group_of(from, numbers);
  LAUNCH(norms::deviations, group.groups, threads_of(group), group, to[0]);
}

void stddev_gradient(const float* const* from, float* const* to, const double* numbers) {
  const norms::Group group = group_of(from, numbers);
  LAUNCH(norms::deviation_gradients, group.groups, threads_of(group), group, from[1], to[0]);
}

void stddev_second(const float* const* from, float* const* to, const double* numbers) {
  const norms::Group group = group_of(from, numbers);
  LAUNCH(norms::deviation_second, group.groups, threads_of(group), group, from[1], from[2], to[0],
      to[1]);
}

// Numbers: n, m, k, how many arrays
void totals(const float* const* from, float* const* to, const double* numbers) {
  using namespace norms;
  const I n = numbers[0], m = numbers[1], k = numbers[2];
  const int count = numbers[3];
  const Two two = {{from[0], from[count - 1]}, {to[0], to[count - 1]}};
  if (k == 1) LAUNCH(row_totals, dim3(n, count), threads_for(m), two, m);
  else LAUNCH(column_totals, dim3(for_each(n * k), count), 256, two, m, k, n * k);
}
