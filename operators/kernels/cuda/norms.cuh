// Pixel norm, minibatch stddev and plain sums on a GPU, as ../norms.h has them on a CPU.

#include "blocks.cuh"
#include "launch.cuh"

#include <algorithm>

namespace norms {

using namespace blocks;

const float EPS = 1e-8f;

// x (n, c): a block for each of n
__launch_bounds__(MOST_THREADS) __global__ void pixel_norms(const float* x, float* y, int C) {
  const I row = blockIdx.x * (I)C;
  Sum squares = {};
  for (int i = threadIdx.x; i < C; i += blockDim.x) squares.value += x[row + i] * x[row + i];
  const float scale = 1 / sqrtf(of_block(squares) / C + EPS);
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
  const float of_squares = of_block(squares), of_products = of_block(products);
  const float scale = 1 / sqrtf(of_squares / C + EPS);
  const float along = scale * scale * of_products / C;
  for (int i = threadIdx.x; i < C; i += blockDim.x)
    dx[row + i] = scale * (dy[row + i] - along * x[row + i]);
}

// x (n, c, plane): a row of blocks for each group, of images i * groups + its number; of each image
// a thread has one place
struct Group {
  const float* x;
  int members, groups, C, plane;

  __device__ int size() const { return C * plane; }
  __device__ int mine() const { return blockIdx.y * blockDim.x + threadIdx.x; }
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
    return of_block(sum) / ((float)size() * members);
  }
};

// sums (groups, blocks of the row)
__global__ void deviations(Group group, float* y, float* sums) {
  const int p = group.mine();
  Sum sum = {};
  if (p < group.size()) {
    sum.value = group.deviation(p, group.mean(p));
    for (int i = 0; i < group.members; i++) y[group.place(i, p)] = group.at(i, p);
  }
  const float all = of_block(sum);
  if (threadIdx.x == 0) sums[blockIdx.x * gridDim.y + blockIdx.y] = all;
}

// The appended channel of y: factor times the sum of a group's sums, a block for each
__launch_bounds__(MOST_THREADS) __global__ void fill_channels(Group group, float* y,
    const float* sums, int count, float factor) {
  Sum sum = {};
  for (int i = threadIdx.x; i < count; i += blockDim.x) sum.value += sums[blockIdx.x * count + i];
  const float value = factor * of_block(sum);
  for (int i = threadIdx.x; i < group.members * group.plane; i += blockDim.x)
    y[group.place(i / group.plane, group.size() + i % group.plane)] = value;
}

__global__ void deviation_gradients(Group group, const float* dy, float* dx) {
  const float part = group.of_channel(dy);
  const int p = group.mine();
  if (p >= group.size()) return;
  const float mean = group.mean(p), factor = part / group.deviation(p, mean);
  for (int i = 0; i < group.members; i++)
    dx[group.image(i) * group.size() + p] =
        dy[group.place(i, p)] + factor * (group.at(i, p) - mean);
}

// v, of dx's size -> what dy and what x get of the product of v and dx; sums as of deviations
__global__ void deviation_second(Group group, const float* dy, const float* v, float* ddy,
    float* dx, float* sums) {
  const float part = group.of_channel(dy);
  const int members = group.members, p = group.mine();
  Sum sum = {};
  if (p < group.size()) {
    const float mean = group.mean(p), scale = 1 / group.deviation(p, mean);
    float of_v = 0, along = 0;
    for (int i = 0; i < members; i++) {
      const float d = v[group.image(i) * group.size() + p];
      ddy[group.place(i, p)] = d;
      of_v += d;
      along += d * (group.at(i, p) - mean);
    }
    sum.value = along * scale;
    of_v /= members;
    along *= scale * scale / members;
    for (int i = 0; i < members; i++) {
      const I here = group.image(i) * group.size() + p;
      dx[here] = part * scale * (v[here] - of_v - along * (group.at(i, p) - mean));
    }
  }
  const float all = of_block(sum);
  if (threadIdx.x == 0) sums[blockIdx.x * gridDim.y + blockIdx.y] = all;
}

// Up to two arrays of one shape
struct Two {
  const float* x[2];
  float* y[2];
};

// x (n, m) -> (n, blocks of a row); a row of blocks for each row of each array
__launch_bounds__(MOST_THREADS) __global__ void row_totals(Two two, int n, I m) {
  const float* x = two.x[blockIdx.x / n] + blockIdx.x % n * m;
  const I end = min((blockIdx.y + 1) * (I)PART, m);
  Sum sum = {};
  for (I i = blockIdx.y * (I)PART + threadIdx.x; i < end; i += blockDim.x) sum.value += x[i];
  const float all = of_block(sum);
  if (threadIdx.x == 0) two.y[blockIdx.x / n][blockIdx.x % n * gridDim.y + blockIdx.y] = all;
}

// x (n, m, k) -> (n, k)
__global__ void column_totals(Two two, I m, I k, I total) {
  const float* x = two.x[blockIdx.y];
  float* y = two.y[blockIdx.y];
  const I i = blockIdx.x * (I)blockDim.x + threadIdx.x;
  if (i >= total) return;
  float sum = 0;
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

int blocks_of(const norms::Group& group) { return blocks::for_each(group.C * group.plane); }

void fill(const norms::Group& group, float* y, const float* sums, float factor) {
  const int count = blocks_of(group), most = std::max(count, group.members * group.plane);
  LAUNCH(norms::fill_channels, group.groups, blocks::threads_for(most), group, y, sums, count,
      factor);
}

void stddev_forward(const float* const* from, float* const* to, const double* numbers) {
  const norms::Group group = group_of(from, numbers);
  LAUNCH(norms::deviations, dim3(group.groups, blocks_of(group)), 256, group, to[0], to[1]);
  fill(group, to[0], to[1], 1.f / (group.C * group.plane));
}

void stddev_gradient(const float* const* from, float* const* to, const double* numbers) {
  const norms::Group group = group_of(from, numbers);
  LAUNCH(norms::deviation_gradients, dim3(group.groups, blocks_of(group)), 256, group, from[1],
      to[0]);
}

void stddev_second(const float* const* from, float* const* to, const double* numbers) {
  const norms::Group group = group_of(from, numbers);
  LAUNCH(norms::deviation_second, dim3(group.groups, blocks_of(group)), 256, group, from[1],
      from[2], to[0], to[1], to[2]);
  fill(group, to[0], to[2], 1.f / ((float)group.C * group.plane * group.members));
}

// Numbers: n, m, k, how many arrays
void totals(const float* const* from, float* const* to, const double* numbers) {
  using namespace norms;
  const I n = numbers[0], m = numbers[1], k = numbers[2];
  const int count = numbers[3], parts = k == 1 ? parts_of(m, PART) : 1;
  Two two = {{from[0], from[count - 1]}, {to[0], to[count - 1]}};
  if (parts > 1) two.y[0] = to[count], two.y[1] = to[count] + (count - 1) * n * parts;
  if (k == 1) {
    const int threads = threads_for(std::min(m, (I)PART));
    LAUNCH(row_totals, dim3(n * count, parts), threads, two, n, m);
  } else LAUNCH(column_totals, dim3(for_each(n * k), count), 256, two, m, k, n * k);
  for (int i = 0; parts > 1 && i < count; i++)
    LAUNCH(add_parts, n, threads_for(parts), two.y[i], to[i], parts);
}
