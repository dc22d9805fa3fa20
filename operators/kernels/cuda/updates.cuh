// Adam, the running average and sums of gradients on a GPU, for MOST arrays in one launch, see
// ../updates.h. Not in place: what Jittor keeps may be on the CPU, then a kernel gets a copy.

#include "launch.cuh"

namespace updates {

const int MOST = 64, PART = 4096;  // numbers for one block

template <int FROM, int TO>
struct Table {
  const float* from[FROM][MOST];
  float* to[TO][MOST];
  int sizes[MOST];
  unsigned first[MOST + 1];  // blocks

  // sizes: 0 for arrays that are none
  Table(const float* const* operands, float* const* results, const double* numbers) {
    first[0] = 0;
    for (int i = 0; i < MOST; i++) {
      sizes[i] = numbers[i];
      first[i + 1] = first[i] + (sizes[i] + PART - 1) / PART;
      for (int j = 0; j < FROM; j++) from[j][i] = operands[j * MOST + i];
      for (int j = 0; j < TO; j++) to[j][i] = results[j * MOST + i];
    }
  }
};

struct Rates {
  float rate[MOST], correction[MOST];
};

// What a block has to do: an array, and from where to where
struct Work {
  int array, begin, end;

  template <int FROM, int TO>
  __device__ explicit Work(const Table<FROM, TO>& table) {
    array = 0;
    while (table.first[array + 1] <= blockIdx.x) array++;
    begin = (blockIdx.x - table.first[array]) * PART;
    end = min(begin + PART, table.sizes[array]);
  }
};

// p, v, g -> p, v
__global__ void adam_all(Table<3, 2> table, Rates rates, float beta2, float eps) {
  const Work work(table);
  const int array = work.array;
  const float *p = table.from[0][array], *v = table.from[1][array], *g = table.from[2][array];
  const float rate = rates.rate[array], scale = 1 / rates.correction[array];
  for (int i = work.begin + threadIdx.x; i < work.end; i += blockDim.x) {
    const float d = g[i], m = beta2 * v[i] + (1 - beta2) * d * d;
    table.to[1][array][i] = m;
    table.to[0][array][i] = p[i] - rate * d / (sqrtf(m) * scale + eps);
  }
}

// running averages, parameters -> running averages
__global__ void average_all(Table<2, 1> table, float part) {
  const Work work(table);
  const float *r = table.from[0][work.array], *p = table.from[1][work.array];
  for (int i = work.begin + threadIdx.x; i < work.end; i += blockDim.x)
    table.to[0][work.array][i] = r[i] + (p[i] - r[i]) * part;
}

__global__ void add_all(Table<2, 1> table) {
  const Work work(table);
  const float *x = table.from[0][work.array], *y = table.from[1][work.array];
  for (int i = work.begin + threadIdx.x; i < work.end; i += blockDim.x)
    table.to[0][work.array][i] = x[i] + y[i];
}

}  // namespace updates

// Numbers: MOST each of sizes, rates and corrections; beta2, eps
void adam_(const float* const* from, float* const* to, const double* numbers) {
  using namespace updates;
  const Table<3, 2> table(from, to, numbers);
  Rates rates;
  for (int i = 0; i < MOST; i++) {
    rates.rate[i] = numbers[MOST + i];
    rates.correction[i] = numbers[2 * MOST + i];
  }
  numbers += 3 * MOST;
  LAUNCH(adam_all, table.first[MOST], 256, table, rates, numbers[0], numbers[1]);
}

// Numbers: MOST sizes, part
void average_(const float* const* from, float* const* to, const double* numbers) {
  using namespace updates;
  const Table<2, 1> table(from, to, numbers);
  LAUNCH(average_all, table.first[MOST], 256, table, numbers[MOST]);
}

// Numbers: MOST sizes
void add_(const float* const* from, float* const* to, const double* numbers) {
  using namespace updates;
  const Table<2, 1> table(from, to, numbers);
  LAUNCH(add_all, table.first[MOST], 256, table);
}
