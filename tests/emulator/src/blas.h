// Row-major matrix products of OpenBLAS (the wheel scipy-openblas32), and TF32's rounding
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

extern "C" {
void scipy_cblas_sgemm(int, int, int, int m, int n, int k, float alpha, const float* a, int lda,
    const float* b, int ldb, float beta, float* c, int ldc);
void scipy_cblas_dgemm(int, int, int, int m, int n, int k, double alpha, const double* a, int lda,
    const double* b, int ldb, double beta, double* c, int ldc);
}
const int ROWS = 101, COLUMNS = 102, PLAIN = 111, TRANSPOSED = 112;

// 10 bits of mantissa, to nearest
inline float tf32(float x) {
  uint32_t u;
  memcpy(&u, &x, 4);
  u = (u + 0x1000) & ~0x1fffu;
  memcpy(&x, &u, 4);
  return x;
}
inline int tf32_override() {  // -1 unset
  static const char* e = getenv("NVIDIA_TF32_OVERRIDE");
  return e && *e ? atoi(e) : -1;
}
