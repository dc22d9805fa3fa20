// Every operator of operators/kernels/cuda with shapes that make it use each size of its blocks, twice:
// in order and with threads and blocks in reverse, which has to give the same bits. Status 1 if
// anything was reported.

#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "runtime.h"

typedef std::vector<double> Numbers;
typedef std::vector<size_t> Sizes;
typedef void Operator(const float* const*, float* const*, const double*);

#include "all_operators.h"  // those of the .cuh, written by find.py

const int MOST = 64;  // of updates.cuh

// in, out: how many numbers each array has
void check(
    const char* name, Operator* f, const Sizes& in, const Sizes& out, const Numbers& numbers) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<const float*> from;
  std::vector<float*> to;
  for (size_t size : in) {
    float* x = race::array(size, false);
    for (size_t i = 0; i < size; i++) x[i] = std::abs(normal(random));
    from.push_back(x);
  }
  for (size_t size : out) to.push_back(race::array(size, true));
  std::vector<float> results[2];
  for (int order = 0; order < 2; order++) {
    race::reversed = order;
    race::begin(name);
    f(from.data(), to.data(), numbers.data());
    race::end();
    for (size_t i = 0; i < out.size(); i++)
      results[order].insert(results[order].end(), to[i], to[i] + out[i]);
  }
  if (memcmp(results[0].data(), results[1].data(), results[0].size() * 4)) {
    printf("%s: the order of threads changes the result\n", name);
    race::found++;
  }
  race::release();
}
#define CHECK(f, ...) check(#f, f, __VA_ARGS__)

// Results and what sums of parts are written behind them, for so many each of `rows` that one block
// does not add up alone
Sizes with_parts(Sizes results, size_t rows, size_t numbers, size_t most) {
  if (numbers > most) results.push_back(rows * ((numbers + most - 1) / most));
  return results;
}
const size_t PART = 4096, PLANE = 16384;  // of blocks.cuh

void styled(size_t n, size_t c, size_t h, size_t w, double kind) {
  const size_t all = n * c * h * w;
  const Numbers numbers = {double(n), double(c), double(h), double(w), 1e-5, kind, 0.7, 0.3};
  const Sizes in = {all, c, c, n * h * w, 2 * n * c, all};
  CHECK(styled_forward, in, with_parts({all}, 5 * n * c, h * w, PLANE), numbers);
  CHECK(styled_gradient, in,
      with_parts({all, 2 * n * c, n * c, n * c}, 7 * n * c, h * w, PLANE), numbers);
}

void biased(size_t n, size_t c, size_t size) {
  const size_t all = n * c * size;
  const Numbers numbers = {double(n), double(c), double(size), 0.7, 0.2};
  CHECK(biased_forward, {all, c}, {all}, numbers);
  CHECK(biased_gradient, {all, all}, with_parts({all, c}, c, n * size, PART), numbers);
  CHECK(biased_slope, {all, all}, {all}, {double(all), 0.7, 0.2});
}

void pixel_norm(size_t n, size_t c) {
  CHECK(pixel_norm_forward, {n * c}, {n * c}, {double(n), double(c)});
  CHECK(pixel_norm_gradient, {n * c, n * c}, {n * c}, {double(n), double(c)});
}

void stddev(size_t members, size_t groups, size_t c, size_t plane) {
  const size_t x = members * groups * c * plane, y = members * groups * (c + 1) * plane;
  const Numbers numbers = {double(members), double(groups), double(c), double(plane)};
  const size_t sums = groups * ((c * plane + 255) / 256);
  CHECK(stddev_forward, {x}, {y, sums}, numbers);
  CHECK(stddev_gradient, {x, y}, {x}, numbers);
  CHECK(stddev_second, {x, y, x}, {y, x, sums}, numbers);
}

void sums(size_t n, size_t m, size_t k, size_t count) {
  const Sizes results(count, n * k);
  CHECK(totals, Sizes(count, n * m * k),
      k == 1 ? with_parts(results, count * n, m, PART) : results, {double(n), double(m), double(k), double(count)});
}

void resampling(size_t planes, size_t h, size_t w) {
  const Numbers numbers = {double(planes), double(h), double(w), 0.5};
  const Sizes small = {planes * h * w}, large = {4 * planes * h * w};
  CHECK(pool, large, small, numbers);
  CHECK(unpool, small, large, numbers);
  for (size_t adjoint : {0, 1}) {
    const size_t oh = adjoint ? h - 1 : h + 1, ow = adjoint ? w - 1 : w + 1;
    CHECK(smooth, small, {planes * oh * ow},
        {double(planes), double(h), double(w), 0.5, double(adjoint)});
  }
}

// What operators/native.py does where there are fewer arrays: the smallest again, of size 0
void updates(const Sizes& given) {
  Sizes sizes = given;
  Numbers numbers(given.begin(), given.end());
  sizes.resize(MOST, given.back()), numbers.resize(MOST);
  const Numbers none = numbers;
  auto lists = [&](int count, const Sizes& each) {
    Sizes all;
    for (int i = 0; i < count; i++) all.insert(all.end(), each.begin(), each.end());
    return all;
  };
  Sizes results = given;
  results.resize(MOST, 0);
  CHECK(add_, lists(2, sizes), results, numbers);
  numbers.push_back(0.25);
  CHECK(average_, lists(2, sizes), results, numbers);
  numbers = none;
  numbers.resize(3 * MOST, 0.5);
  numbers.insert(numbers.end(), {0.99, 1e-8});
  CHECK(adam_, lists(3, sizes), lists(2, results), numbers);
}

int main() {
  for (int kind : {0, 1, 2}) {
    styled(2, 3, 4, 4, kind);
    styled(2, 2, 12, 13, kind);
    styled(1, 2, 40, 30, kind);
  }
  styled(1, 2, 129, 128, 2);
  biased(5, 7, 1), biased(3, 5, 16), biased(2, 3, 100), biased(2, 2, 700), biased(3, 2, 5500);
  pixel_norm(3, 64), pixel_norm(2, 512), pixel_norm(2, 1100);
  stddev(4, 2, 3, 16), stddev(2, 1, 5, 9), stddev(3, 2, 9, 16), stddev(6, 1, 70, 16);
  sums(3, 50, 1, 1), sums(2, 1000, 1, 2), sums(2, 2000, 1, 2), sums(1, 17000, 1, 1), sums(2, 5000, 1, 2);
  sums(2, 5, 7, 2), sums(1, 4, 300, 1);
  resampling(2, 4, 4), resampling(1, 5, 9), resampling(2, 17, 33);
  updates({5000, 4096, 1, 300, 8192});
  return race::found > 0;
}
