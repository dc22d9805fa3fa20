// The part of cub that Jittor's operators name, computed by one loop each.
#pragma once
#define CUB_VERSION 300000
#include <algorithm>
#include <iterator>
#include <numeric>
#include <vector>

namespace cub {
template <class K, class V>
struct KeyValuePair {
  K key;
  V value;
};

// First call: how much temporary storage; second call: the work
inline bool asks(void* storage, size_t& bytes) {
  if (!storage) bytes = 1;
  return !storage;
}

struct DeviceSegmentedReduce {
  template <bool MAX, class In, class Out, class Begin, class End>
  static cudaError_t arg(void* t, size_t& bytes, In in, Out out, int n, Begin begin, End end) {
    if (asks(t, bytes)) return cudaSuccess;
    emu_enqueue([=]() {
      for (int i = 0; i < n; i++) {
        int best = begin[i];
        for (int j = best; j < end[i]; j++)
          if (MAX ? in[j] > in[best] : in[j] < in[best]) best = j;
        out[i].key = best - begin[i];
        out[i].value = in[best];
      }
    });
    return cudaSuccess;
  }
  template <class... A>
  static cudaError_t ArgMax(void* t, size_t& b, A... a) {
    return arg<true>(t, b, a...);
  }
  template <class... A>
  static cudaError_t ArgMin(void* t, size_t& b, A... a) {
    return arg<false>(t, b, a...);
  }
};

struct DeviceSegmentedRadixSort {
  template <bool DOWN, class K, class V, class Begin, class End>
  static cudaError_t sort(void* t, size_t& bytes, const K* ki, K* ko, const V* vi, V* vo, int,
      int n, Begin begin, End end, int = 0, int = sizeof(K) * 8, cudaStream_t = 0) {
    if (asks(t, bytes)) return cudaSuccess;
    emu_enqueue([=]() {
      for (int i = 0; i < n; i++) {
        std::vector<int> order(end[i] - begin[i]);
        std::iota(order.begin(), order.end(), begin[i]);
        std::stable_sort(order.begin(), order.end(),
            [&](int a, int b) { return DOWN ? ki[a] > ki[b] : ki[a] < ki[b]; });
        for (size_t j = 0; j < order.size(); j++)
          ko[begin[i] + j] = ki[order[j]], vo[begin[i] + j] = vi[order[j]];
      }
    });
    return cudaSuccess;
  }
  template <class... A>
  static cudaError_t SortPairs(void* t, size_t& b, A... a) {
    return sort<false>(t, b, a...);
  }
  template <class... A>
  static cudaError_t SortPairsDescending(void* t, size_t& b, A... a) {
    return sort<true>(t, b, a...);
  }
};

struct DeviceSelect {
  template <class In, class Flags, class Out, class Count>
  static cudaError_t Flagged(
      void* t, size_t& bytes, In in, Flags flags, Out out, Count count, int n) {
    if (asks(t, bytes)) return cudaSuccess;
    emu_enqueue([=]() {
      int found = 0;
      for (int i = 0; i < n; i++)
        if (flags[i]) out[found++] = in[i];
      *count = found;
    });
    return cudaSuccess;
  }
};

struct DeviceScan {
  template <class In, class Out>
  static cudaError_t InclusiveSum(void* t, size_t& bytes, In in, Out out, int n) {
    if (asks(t, bytes)) return cudaSuccess;
    emu_enqueue([=]() { std::partial_sum(in, in + n, out); });
    return cudaSuccess;
  }
};

template <class T, int THREADS>
struct BlockScan {
  struct TempStorage {
    T sums[THREADS];
  };
  TempStorage& storage;
  BlockScan(TempStorage& s) : storage(s) {}
  template <int N>
  void InclusiveSum(T (&in)[N], T (&out)[N]) {
    T sum = 0, before = 0;
    for (int i = 0; i < N; i++) sum += in[i];
    storage.sums[threadIdx.x] = sum;
    __syncthreads();
    for (unsigned i = 0; i < threadIdx.x; i++) before += storage.sums[i];
    __syncthreads();
    for (int i = 0; i < N; i++) out[i] = before += in[i];
  }
};
}  // namespace cub

namespace thrust {
template <class I>
std::reverse_iterator<I> make_reverse_iterator(I i) {
  return std::reverse_iterator<I>(i);
}
}  // namespace thrust
