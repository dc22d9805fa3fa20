// libcublas: the matrix products that Jittor calls, float32 and float64, column-major.
#include <cublas_v2.h>

#include <cstdio>

#include "blas.h"
#include "runtime.h"

struct cublasContext {
  int magic = 0xb1a5;
};

namespace {
#define REQUIRE(condition)                                                 \
  do {                                                                     \
    if (!(condition)) {                                                    \
      fprintf(stderr, "EMULATOR: %s: not so: %s\n", __func__, #condition); \
      return CUBLAS_STATUS_INVALID_VALUE;                                  \
    }                                                                      \
  } while (0)

struct Matrix {
  int rows, columns, ld;
};

size_t extent(const Matrix& m) { return m.columns ? size_t(m.columns - 1) * m.ld + m.rows : 0; }
std::vector<float> rounded(const float* p, size_t n) {
  std::vector<float> v(p, p + n);
  for (auto& x : v) x = tf32(x);
  return v;
}

cublasStatus_t gemm(const char* who, cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb,
    int m, int n, int k, const void* alpha, const void* a, cudaDataType at, int lda, long long sa,
    const void* b, cudaDataType bt, int ldb, long long sb, const void* beta, void* c,
    cudaDataType ct, int ldc, long long sc, int batches, cublasComputeType_t compute) {
  REQUIRE(h && h->magic == 0xb1a5);
  REQUIRE(m >= 0 && n >= 0 && k >= 0 && batches >= 0);
  REQUIRE(ta == CUBLAS_OP_N || ta == CUBLAS_OP_T);
  REQUIRE(tb == CUBLAS_OP_N || tb == CUBLAS_OP_T);
  const Matrix A = ta ? Matrix{k, m, lda} : Matrix{m, k, lda},
               B = tb ? Matrix{n, k, ldb} : Matrix{k, n, ldb}, C{m, n, ldc};
  REQUIRE(lda >= A.rows && lda > 0);
  REQUIRE(ldb >= B.rows && ldb > 0);
  REQUIRE(ldc >= C.rows && ldc > 0);
  REQUIRE(at == bt && bt == ct);
  const bool single = at == CUDA_R_32F, twice = at == CUDA_R_64F;
  if (!single && !twice) emu_fail("%s: type %d is not emulated", who, at);
  const bool is_32 = compute == CUBLAS_COMPUTE_32F || compute == CUBLAS_COMPUTE_32F_FAST_TF32;
  if (single ? !is_32 : compute != CUBLAS_COMPUTE_64F) {
    fprintf(
        stderr, "EMULATOR: %s: type %d with compute type %d is not supported\n", who, at, compute);
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  if (!m || !n || !batches) return CUBLAS_STATUS_SUCCESS;
  const size_t size = single ? 4 : 8, last = batches - 1;
  emu_need(who, "A", a, (extent(A) + last * sa) * size);
  emu_need(who, "B", b, (extent(B) + last * sb) * size);
  emu_need(who, "C", c, (extent(C) + last * sc) * size);
  const bool tensor = compute == CUBLAS_COMPUTE_32F_FAST_TF32 ? tf32_override() != 0
                                                              : single && tf32_override() == 1;
  emu_count(who + std::string(tensor ? " in tf32" : ""));
  const double al = single ? *(const float*)alpha : *(const double*)alpha,
               be = single ? *(const float*)beta : *(const double*)beta;
  emu_enqueue([=]() {
    for (int i = 0; i < batches; i++) {
      const int x = ta ? TRANSPOSED : PLAIN, y = tb ? TRANSPOSED : PLAIN;
      if (single) {
        auto *p = (const float*)a + i * sa, *q = (const float*)b + i * sb;
        std::vector<float> pr, qr;
        if (tensor)
          pr = rounded(p, extent(A)), qr = rounded(q, extent(B)), p = pr.data(), q = qr.data();
        scipy_cblas_sgemm(COLUMNS, x, y, m, n, k, al, p, lda, q, ldb, be, (float*)c + i * sc, ldc);
      } else
        scipy_cblas_dgemm(COLUMNS, x, y, m, n, k, al, (const double*)a + i * sa, lda,
            (const double*)b + i * sb, ldb, be, (double*)c + i * sc, ldc);
    }
  });
  return CUBLAS_STATUS_SUCCESS;
}
}  // namespace

extern "C" {
cublasStatus_t cublasCreate_v2(cublasHandle_t* h) {
  *h = new cublasContext;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t h) {
  delete h;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream_v2(cublasHandle_t, cudaStream_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSgemm_v2(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m,
    int n, int k, const float* alpha, const float* a, int lda, const float* b, int ldb,
    const float* beta, float* c, int ldc) {
  return gemm(__func__, h, ta, tb, m, n, k, alpha, a, CUDA_R_32F, lda, 0, b, CUDA_R_32F, ldb, 0,
      beta, c, CUDA_R_32F, ldc, 0, 1, CUBLAS_COMPUTE_32F);
}
cublasStatus_t cublasGemmEx(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m,
    int n, int k, const void* alpha, const void* a, cudaDataType at, int lda, const void* b,
    cudaDataType bt, int ldb, const void* beta, void* c, cudaDataType ct, int ldc,
    cublasComputeType_t compute, cublasGemmAlgo_t) {
  return gemm(__func__, h, ta, tb, m, n, k, alpha, a, at, lda, 0, b, bt, ldb, 0, beta, c, ct, ldc,
      0, 1, compute);
}
cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t h, cublasOperation_t ta,
    cublasOperation_t tb, int m, int n, int k, const void* alpha, const void* a, cudaDataType at,
    int lda, long long sa, const void* b, cudaDataType bt, int ldb, long long sb, const void* beta,
    void* c, cudaDataType ct, int ldc, long long sc, int batches, cublasComputeType_t compute,
    cublasGemmAlgo_t) {
  return gemm(__func__, h, ta, tb, m, n, k, alpha, a, at, lda, sa, b, bt, ldb, sb, beta, c, ct, ldc,
      sc, batches, compute);
}
}
