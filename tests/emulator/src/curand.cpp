// libcurand: uniform and normal numbers (not cuRAND's), with its demands on lengths and ranges.
#include <curand.h>

#include <cmath>
#include <memory>
#include <random>

#include "runtime.h"

struct curandGenerator_st {
  std::mt19937_64 engine;
};

namespace {
template <class T, class D>
curandStatus_t draw(const char* who, curandGenerator_t g, T* p, size_t n, D distribution) {
  emu_need(who, "output", p, n * sizeof(T));
  emu_count(who);
  emu_enqueue([=]() mutable {
    for (size_t i = 0; i < n; i++) p[i] = distribution(g->engine);
  });
  return CURAND_STATUS_SUCCESS;
}
}  // namespace

extern "C" {
curandStatus_t curandCreateGenerator(curandGenerator_t* g, curandRngType_t) {
  *g = new curandGenerator_st;
  return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandDestroyGenerator(curandGenerator_t g) {
  delete g;
  return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandSetPseudoRandomGeneratorSeed(curandGenerator_t g, unsigned long long seed) {
  emu_wait();
  g->engine.seed(seed);
  return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandSetStream(curandGenerator_t, cudaStream_t) { return CURAND_STATUS_SUCCESS; }
// (0, 1], as cuRAND
curandStatus_t curandGenerateUniform(curandGenerator_t g, float* p, size_t n) {
  return draw(__func__, g, p, n, [](std::mt19937_64& e) { return ((e() >> 40) + 1) * 0x1p-24f; });
}
curandStatus_t curandGenerateUniformDouble(curandGenerator_t g, double* p, size_t n) {
  return draw(__func__, g, p, n, [](std::mt19937_64& e) { return ((e() >> 11) + 1) * 0x1p-53; });
}
curandStatus_t curandGenerateNormal(
    curandGenerator_t g, float* p, size_t n, float mean, float deviation) {
  if (n % 2) return CURAND_STATUS_LENGTH_NOT_MULTIPLE;
  return draw(__func__, g, p, n, std::normal_distribution<float>(mean, deviation));
}
curandStatus_t curandGenerateNormalDouble(
    curandGenerator_t g, double* p, size_t n, double mean, double deviation) {
  if (n % 2) return CURAND_STATUS_LENGTH_NOT_MULTIPLE;
  return draw(__func__, g, p, n, std::normal_distribution<double>(mean, deviation));
}
}
