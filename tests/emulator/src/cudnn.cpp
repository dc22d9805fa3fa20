// libcudnn: the convolutions that Jittor calls, by im2col and matrix products, in float32 and NCHW.
// Descriptors, sizes and ranges are checked as cuDNN documents them; other functions are not there.
#include <cudnn.h>

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <random>
#include <vector>

#include "blas.h"
#include "runtime.h"

struct cudnnContext {
  int magic = 0xd11;
};
struct cudnnTensorStruct {
  bool set = false;
  cudnnDataType_t type;
  int dim[4], stride[4];
};
struct cudnnFilterStruct {
  bool set = false;
  cudnnDataType_t type;
  cudnnTensorFormat_t format;
  int dim[4];
};
struct cudnnConvolutionStruct {
  bool set = false;
  int pad[2], stride[2], dilation[2], groups = 1;
  cudnnConvolutionMode_t mode;
  cudnnDataType_t compute;
  cudnnMathType_t math = CUDNN_DEFAULT_MATH;
};

namespace {
#define REQUIRE(condition)                                                 \
  do {                                                                     \
    if (!(condition)) {                                                    \
      fprintf(stderr, "EMULATOR: %s: not so: %s\n", __func__, #condition); \
      return CUDNN_STATUS_BAD_PARAM;                                       \
    }                                                                      \
  } while (0)
#define OK_OR_RETURN(call)                               \
  do {                                                   \
    const cudnnStatus_t status_ = (call);                \
    if (status_ != CUDNN_STATUS_SUCCESS) return status_; \
  } while (0)

struct Shape {  // all a convolution needs
  int n, c, h, w, k, r, s, p, q, groups, pad[2], stride[2], dilation[2];
  bool tf32;
  size_t x() const { return size_t(n) * c * h * w; }
  size_t y() const { return size_t(n) * k * p * q; }
  size_t f() const { return size_t(k) * (c / groups) * r * s; }
  size_t column() const { return size_t(c / groups) * r * s * p * q; }
};

bool packed(const cudnnTensorStruct& t) {
  int stride = 1;
  for (int i = 3; i >= 0; i--) {
    if (t.dim[i] > 1 && t.stride[i] != stride) return false;
    stride *= t.dim[i];
  }
  return true;
}

// x and y are those of the forward convolution
cudnnStatus_t shape(Shape& s, cudnnHandle_t handle, cudnnTensorDescriptor_t x,
    cudnnFilterDescriptor_t f, cudnnConvolutionDescriptor_t c, cudnnTensorDescriptor_t y) {
  REQUIRE(handle && handle->magic == 0xd11);
  REQUIRE(x && x->set && f && f->set && c && c->set && y && y->set);
  REQUIRE(x->type == f->type && x->type == y->type);
  REQUIRE(c->mode == CUDNN_CROSS_CORRELATION);
  if (x->type != CUDNN_DATA_FLOAT || c->compute != CUDNN_DATA_FLOAT)
    emu_fail("cudnn: only float32 is emulated");
  if (f->format != CUDNN_TENSOR_NCHW || !packed(*x) || !packed(*y))
    emu_fail("cudnn: only packed NCHW is emulated");
  s = {x->dim[0], x->dim[1], x->dim[2], x->dim[3], f->dim[0], f->dim[2], f->dim[3], y->dim[2],
      y->dim[3], c->groups};
  for (int i = 0; i < 2; i++) {
    s.pad[i] = c->pad[i], s.stride[i] = c->stride[i], s.dilation[i] = c->dilation[i];
    const int out =
        (x->dim[2 + i] + 2 * s.pad[i] - ((f->dim[2 + i] - 1) * s.dilation[i] + 1)) / s.stride[i] +
        1;
    REQUIRE(out == y->dim[2 + i]);
  }
  REQUIRE(x->dim[1] == f->dim[1] * s.groups);
  REQUIRE(s.k % s.groups == 0);
  REQUIRE(y->dim[0] == s.n && y->dim[1] == s.k);
  s.tf32 = tf32_override() != 0 && c->math != CUDNN_FMA_MATH;
  return CUDNN_STATUS_SUCCESS;
}

void round(std::vector<float>& v, bool yes) {
  if (yes)
    for (auto& x : v) x = tf32(x);
}
std::vector<float> rounded(const float* p, size_t n, bool yes) {
  std::vector<float> v(p, p + n);
  round(v, yes);
  return v;
}

// One image's channels of one group -> (c / groups * r * s, p * q); back adds
template <bool BACK>
void columns(const Shape& s, float* x, float* column) {
  for (int c = 0; c < s.c / s.groups; c++)
    for (int r = 0; r < s.r; r++)
      for (int t = 0; t < s.s; t++)
        for (int p = 0; p < s.p; p++)
          for (int q = 0; q < s.q; q++, column++) {
            const int i = p * s.stride[0] - s.pad[0] + r * s.dilation[0];
            const int j = q * s.stride[1] - s.pad[1] + t * s.dilation[1];
            const bool inside = i >= 0 && i < s.h && j >= 0 && j < s.w;
            float* place = x + (size_t(c) * s.h + i) * s.w + j;
            if (BACK) {
              if (inside) *place += *column;
            } else
              *column = inside ? *place : 0;
          }
}

enum Kind { FORWARD, DATA, FILTER };

// As cuDNN documents it: these add up by atomic operations
bool deterministic(Kind kind, int algo) {
  if (kind == DATA) return algo != CUDNN_CONVOLUTION_BWD_DATA_ALGO_0;
  return kind == FORWARD ||
      (algo != CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0 && algo != CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3);
}

// The order in which n images are added up
std::vector<int> order(int n, bool fixed) {
  static std::mt19937 chance{std::random_device{}()};
  std::vector<int> all(n);
  std::iota(all.begin(), all.end(), 0);
  if (!fixed && emu_set("EMU_SHUFFLE")) std::shuffle(all.begin(), all.end(), chance);
  return all;
}

// Writes alpha * result + beta * before to the third
void convolve(Kind kind, int algo, Shape s, float alpha, float beta, const float* x, const float* f,
    const float* y, float* out) {
  const size_t outputs = kind == FORWARD ? s.y() : kind == DATA ? s.x() : s.f();
  std::vector<float> result(outputs, 0.f), column(s.column());
  std::vector<float> xs, fs, ys;
  if (kind != DATA) xs = rounded(x, s.x(), s.tf32);
  if (kind != FILTER) fs = rounded(f, s.f(), s.tf32);
  if (kind != FORWARD) ys = rounded(y, s.y(), s.tf32);
  const int cg = s.c / s.groups, kg = s.k / s.groups, taps = cg * s.r * s.s, places = s.p * s.q;
  for (int n : order(s.n, deterministic(kind, algo)))
    for (int g = 0; g < s.groups; g++) {
      const size_t at_x = (size_t(n) * s.c + g * cg) * s.h * s.w, at_f = size_t(g) * kg * taps;
      const size_t at_y = (size_t(n) * s.k + g * kg) * places;
      if (kind != DATA) columns<false>(s, &xs[at_x], column.data());
      if (kind == FORWARD)
        scipy_cblas_sgemm(ROWS, PLAIN, PLAIN, kg, places, taps, 1, &fs[at_f], taps, column.data(),
            places, 0, &result[at_y], places);
      else if (kind == FILTER)
        scipy_cblas_sgemm(ROWS, PLAIN, TRANSPOSED, kg, taps, places, 1, &ys[at_y], places,
            column.data(), places, 1, &result[at_f], taps);
      else {
        scipy_cblas_sgemm(ROWS, TRANSPOSED, PLAIN, taps, places, kg, 1, &fs[at_f], taps, &ys[at_y],
            places, 0, column.data(), places);
        columns<true>(s, &result[at_x], column.data());
      }
    }
  for (size_t i = 0; i < outputs; i++) out[i] = alpha * result[i] + (beta ? beta * out[i] : 0);
}

void submit(const char* who, Kind kind, int algo, const Shape& s, const void* alpha,
    const void* beta, const void* x, const void* f, const void* y) {
  emu_need(who, "x", x, s.x() * 4);
  emu_need(who, "filter", f, s.f() * 4);
  emu_need(who, "y", y, s.y() * 4);
  emu_count(who + std::string(s.tf32 ? " in tf32" : ""));
  const float a = *(const float*)alpha, b = *(const float*)beta;
  auto* out = (float*)(kind == FORWARD ? y : kind == DATA ? x : f);
  emu_enqueue([=]() {
    convolve(kind, algo, s, a, b, (const float*)x, (const float*)f, (const float*)y, out);
  });
}

// Which algorithms there are, roughly as on a GPU: FFT without stride, Winograd for 3x3 without
// stride
cudnnStatus_t workspace(Kind kind, const Shape& s, int algo, size_t* bytes) {
  const bool plain =
      s.stride[0] == 1 && s.stride[1] == 1 && s.dilation[0] == 1 && s.dilation[1] == 1;
  const bool three = plain && s.r == 3 && s.s == 3;
  bool there = false;
  // Jittor asks for a 7th algorithm of 6 in its list of those for filters: refused, not reported
  if (kind == FILTER && (algo < 0 || algo >= CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT))
    return CUDNN_STATUS_BAD_PARAM;
  if (kind == FORWARD) {
    REQUIRE(algo >= 0 && algo < CUDNN_CONVOLUTION_FWD_ALGO_COUNT);
    there = algo <= CUDNN_CONVOLUTION_FWD_ALGO_GEMM;
    there |= plain && (algo == CUDNN_CONVOLUTION_FWD_ALGO_FFT ||
                          algo == CUDNN_CONVOLUTION_FWD_ALGO_FFT_TILING);
    there |= three && algo >= CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD;
  } else if (kind == DATA) {
    REQUIRE(algo >= 0 && algo < CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT);
    there = algo <= CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;
    there |= plain && (algo == CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT ||
                          algo == CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT_TILING);
    there |= three && algo >= CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD;
  } else {
    there =
        algo <= CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1 || algo == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3;
    there |= plain && (algo == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT ||
                          algo == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT_TILING);
    there |= three && algo == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD_NONFUSED;
  }
  if (!there) return CUDNN_STATUS_NOT_SUPPORTED;
  *bytes = algo ? s.column() * 4 : 0;
  return CUDNN_STATUS_SUCCESS;
}

// What a search finds: those without a workspace last, so that one with a workspace is chosen
template <class Perf>
cudnnStatus_t algorithms(
    Kind kind, const Shape& s, int wanted, int* found, Perf* perf, int count, size_t room) {
  *found = 0;
  for (int algo = count - 1; algo >= 0 && *found < wanted; algo--) {
    Perf p = Perf();
    p.algo = (decltype(p.algo))algo;
    p.status = workspace(kind, s, algo, &p.memory);
    if (p.status == CUDNN_STATUS_SUCCESS && p.memory > room) continue;
    p.determinism =
        deterministic(kind, algo) ? CUDNN_DETERMINISTIC : CUDNN_NON_DETERMINISTIC;
    p.time = 1;
    if (p.status == CUDNN_STATUS_SUCCESS) perf[(*found)++] = p;
  }
  return *found ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
}

cudnnStatus_t check_workspace(
    const char* who, Kind kind, const Shape& s, int algo, const void* p, size_t bytes) {
  size_t needed;
  OK_OR_RETURN(workspace(kind, s, algo, &needed));
  REQUIRE(bytes >= needed);
  emu_need(who, "workspace", p, needed);
  return CUDNN_STATUS_SUCCESS;
}
}  // namespace

extern "C" {
cudnnStatus_t cudnnCreate(cudnnHandle_t* h) {
  *h = new cudnnContext;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t h) {
  delete h;
  return CUDNN_STATUS_SUCCESS;
}
const char* cudnnGetErrorString(cudnnStatus_t s) {
  return s ? "cudnn error (emulated)" : "success";
}
size_t cudnnGetVersion() { return CUDNN_VERSION; }
#define OBJECT(name, type)                              \
  cudnnStatus_t cudnnCreate##name(cudnn##name##_t* d) { \
    *d = new type;                                      \
    return CUDNN_STATUS_SUCCESS;                        \
  }                                                     \
  cudnnStatus_t cudnnDestroy##name(cudnn##name##_t d) { \
    delete d;                                           \
    return CUDNN_STATUS_SUCCESS;                        \
  }
OBJECT(TensorDescriptor, cudnnTensorStruct)
OBJECT(FilterDescriptor, cudnnFilterStruct)
OBJECT(ConvolutionDescriptor, cudnnConvolutionStruct)

cudnnStatus_t cudnnSetTensorNdDescriptor(
    cudnnTensorDescriptor_t d, cudnnDataType_t type, int n, const int* dim, const int* stride) {
  REQUIRE(d && dim && stride);
  if (n != 4) emu_fail("cudnnSetTensorNdDescriptor: %d dimensions are not emulated", n);
  for (int i = 0; i < n; i++) {
    REQUIRE(dim[i] > 0 && stride[i] > 0);
    d->dim[i] = dim[i], d->stride[i] = stride[i];
  }
  d->type = type, d->set = true;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetFilterNdDescriptor(cudnnFilterDescriptor_t d, cudnnDataType_t type,
    cudnnTensorFormat_t format, int n, const int* dim) {
  REQUIRE(d && dim);
  if (n != 4) emu_fail("cudnnSetFilterNdDescriptor: %d dimensions are not emulated", n);
  for (int i = 0; i < n; i++) {
    REQUIRE(dim[i] > 0);
    d->dim[i] = dim[i];
  }
  d->type = type, d->format = format, d->set = true;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolutionNdDescriptor(cudnnConvolutionDescriptor_t d, int n, const int* pad,
    const int* stride, const int* dilation, cudnnConvolutionMode_t mode, cudnnDataType_t compute) {
  REQUIRE(d && pad && stride && dilation);
  if (n != 2) emu_fail("cudnnSetConvolutionNdDescriptor: %d dimensions are not emulated", n);
  for (int i = 0; i < n; i++) {
    REQUIRE(pad[i] >= 0 && stride[i] > 0 && dilation[i] > 0);
    d->pad[i] = pad[i], d->stride[i] = stride[i], d->dilation[i] = dilation[i];
  }
  d->mode = mode, d->compute = compute, d->set = true;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t d, int groups) {
  REQUIRE(d && groups > 0);
  d->groups = groups;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t d, cudnnMathType_t math) {
  REQUIRE(d);
  d->math = math;
  return CUDNN_STATUS_SUCCESS;
}

// Forward: x, filter -> y
cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(cudnnHandle_t h,
    const cudnnTensorDescriptor_t x, const cudnnFilterDescriptor_t f,
    const cudnnConvolutionDescriptor_t c, const cudnnTensorDescriptor_t y,
    cudnnConvolutionFwdAlgo_t algo, size_t* bytes) {
  Shape s;
  OK_OR_RETURN(shape(s, h, x, f, c, y));
  return workspace(FORWARD, s, algo, bytes);
}
cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t h, const void* alpha,
    const cudnnTensorDescriptor_t xd, const void* x, const cudnnFilterDescriptor_t fd,
    const void* f, const cudnnConvolutionDescriptor_t c, cudnnConvolutionFwdAlgo_t algo, void* ws,
    size_t bytes, const void* beta, const cudnnTensorDescriptor_t yd, void* y) {
  Shape s;
  OK_OR_RETURN(shape(s, h, xd, fd, c, yd));
  OK_OR_RETURN(check_workspace(__func__, FORWARD, s, algo, ws, bytes));
  submit(__func__, FORWARD, algo, s, alpha, beta, x, f, y);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnFindConvolutionForwardAlgorithmEx(cudnnHandle_t h,
    const cudnnTensorDescriptor_t xd, const void* x, const cudnnFilterDescriptor_t fd,
    const void* f, const cudnnConvolutionDescriptor_t c, const cudnnTensorDescriptor_t yd, void* y,
    const int wanted, int* found, cudnnConvolutionFwdAlgoPerf_t* perf, void* ws, size_t bytes) {
  Shape s;
  const float one = 1, zero = 0;
  OK_OR_RETURN(shape(s, h, xd, fd, c, yd));
  emu_need(__func__, "workspace", ws, bytes);
  submit(__func__, FORWARD, 0, s, &one, &zero, x, f, y);
  emu_wait();
  return algorithms(FORWARD, s, wanted, found, perf, CUDNN_CONVOLUTION_FWD_ALGO_COUNT, bytes);
}
cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t h,
    const cudnnTensorDescriptor_t x, const cudnnFilterDescriptor_t f,
    const cudnnConvolutionDescriptor_t c, const cudnnTensorDescriptor_t y, const int wanted,
    int* found, cudnnConvolutionFwdAlgoPerf_t* perf) {
  Shape s;
  OK_OR_RETURN(shape(s, h, x, f, c, y));
  emu_count(__func__);
  return algorithms(FORWARD, s, wanted, found, perf, CUDNN_CONVOLUTION_FWD_ALGO_COUNT, ~size_t(0));
}

// Backward: filter, dy -> dx
cudnnStatus_t cudnnGetConvolutionBackwardDataWorkspaceSize(cudnnHandle_t h,
    const cudnnFilterDescriptor_t f, const cudnnTensorDescriptor_t dy,
    const cudnnConvolutionDescriptor_t c, const cudnnTensorDescriptor_t dx,
    cudnnConvolutionBwdDataAlgo_t algo, size_t* bytes) {
  Shape s;
  OK_OR_RETURN(shape(s, h, dx, f, c, dy));
  return workspace(DATA, s, algo, bytes);
}
cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t h, const void* alpha,
    const cudnnFilterDescriptor_t fd, const void* f, const cudnnTensorDescriptor_t dyd,
    const void* dy, const cudnnConvolutionDescriptor_t c, cudnnConvolutionBwdDataAlgo_t algo,
    void* ws, size_t bytes, const void* beta, const cudnnTensorDescriptor_t dxd, void* dx) {
  Shape s;
  OK_OR_RETURN(shape(s, h, dxd, fd, c, dyd));
  OK_OR_RETURN(check_workspace(__func__, DATA, s, algo, ws, bytes));
  submit(__func__, DATA, algo, s, alpha, beta, dx, f, dy);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnFindConvolutionBackwardDataAlgorithmEx(cudnnHandle_t h,
    const cudnnFilterDescriptor_t fd, const void* f, const cudnnTensorDescriptor_t dyd,
    const void* dy, const cudnnConvolutionDescriptor_t c, const cudnnTensorDescriptor_t dxd,
    void* dx, const int wanted, int* found, cudnnConvolutionBwdDataAlgoPerf_t* perf, void* ws,
    size_t bytes) {
  Shape s;
  const float one = 1, zero = 0;
  OK_OR_RETURN(shape(s, h, dxd, fd, c, dyd));
  emu_need(__func__, "workspace", ws, bytes);
  submit(__func__, DATA, 0, s, &one, &zero, dx, f, dy);
  emu_wait();
  return algorithms(DATA, s, wanted, found, perf, CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT, bytes);
}
cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(cudnnHandle_t h,
    const cudnnFilterDescriptor_t f, const cudnnTensorDescriptor_t dy,
    const cudnnConvolutionDescriptor_t c, const cudnnTensorDescriptor_t dx, const int wanted,
    int* found, cudnnConvolutionBwdDataAlgoPerf_t* perf) {
  Shape s;
  OK_OR_RETURN(shape(s, h, dx, f, c, dy));
  emu_count(__func__);
  return algorithms(
      DATA, s, wanted, found, perf, CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT, ~size_t(0));
}

// Backward: x, dy -> dfilter
cudnnStatus_t cudnnGetConvolutionBackwardFilterWorkspaceSize(cudnnHandle_t h,
    const cudnnTensorDescriptor_t x, const cudnnTensorDescriptor_t dy,
    const cudnnConvolutionDescriptor_t c, const cudnnFilterDescriptor_t f,
    cudnnConvolutionBwdFilterAlgo_t algo, size_t* bytes) {
  Shape s;
  OK_OR_RETURN(shape(s, h, x, f, c, dy));
  return workspace(FILTER, s, algo, bytes);
}
cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t h, const void* alpha,
    const cudnnTensorDescriptor_t xd, const void* x, const cudnnTensorDescriptor_t dyd,
    const void* dy, const cudnnConvolutionDescriptor_t c, cudnnConvolutionBwdFilterAlgo_t algo,
    void* ws, size_t bytes, const void* beta, const cudnnFilterDescriptor_t fd, void* f) {
  Shape s;
  OK_OR_RETURN(shape(s, h, xd, fd, c, dyd));
  OK_OR_RETURN(check_workspace(__func__, FILTER, s, algo, ws, bytes));
  submit(__func__, FILTER, algo, s, alpha, beta, x, f, dy);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnFindConvolutionBackwardFilterAlgorithmEx(cudnnHandle_t h,
    const cudnnTensorDescriptor_t xd, const void* x, const cudnnTensorDescriptor_t dyd,
    const void* dy, const cudnnConvolutionDescriptor_t c, const cudnnFilterDescriptor_t fd, void* f,
    const int wanted, int* found, cudnnConvolutionBwdFilterAlgoPerf_t* perf, void* ws,
    size_t bytes) {
  Shape s;
  const float one = 1, zero = 0;
  OK_OR_RETURN(shape(s, h, xd, fd, c, dyd));
  emu_need(__func__, "workspace", ws, bytes);
  submit(__func__, FILTER, 0, s, &one, &zero, x, f, dy);
  emu_wait();
  return algorithms(FILTER, s, wanted, found, perf, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT, bytes);
}
cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(cudnnHandle_t h,
    const cudnnTensorDescriptor_t x, const cudnnTensorDescriptor_t dy,
    const cudnnConvolutionDescriptor_t c, const cudnnFilterDescriptor_t f, const int wanted,
    int* found, cudnnConvolutionBwdFilterAlgoPerf_t* perf) {
  Shape s;
  OK_OR_RETURN(shape(s, h, x, f, c, dy));
  emu_count(__func__);
  return algorithms(
      FILTER, s, wanted, found, perf, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT, ~size_t(0));
}
}

// Linked by Jittor's recurrent layers, never called by this program
#define ABSENT(name)                              \
  extern "C" void name##_absent() __asm__(#name); \
  void name##_absent() { emu_fail(#name " is not emulated"); }
ABSENT(cudnnCreateDropoutDescriptor)
ABSENT(cudnnDestroyDropoutDescriptor)
ABSENT(cudnnDropoutGetStatesSize)
ABSENT(cudnnSetDropoutDescriptor)
ABSENT(cudnnCreateRNNDescriptor)
ABSENT(cudnnDestroyRNNDescriptor)
