// How a kernel is launched: nothing but a question tells that CUDA did not start it, and then the
// results would be what the memory held.

#pragma once

#include <cuda_runtime.h>

#include <initializer_list>
#include <stdexcept>
#include <string>

namespace launches {

const size_t MOST_BYTES = 4096;  // of arguments, before CUDA 12.1

// No less than what the arguments of a kernel take
template <class Kernel>
struct Arguments;
template <class... T>
struct Arguments<void (*)(T...)> {
  static constexpr size_t bytes() {
    size_t all = 0;
    for (size_t size : {sizeof(T)...}) all += (size + 7) / 8 * 8;
    return all;
  }
};

inline std::string text(dim3 d) {
  return std::to_string(d.x) + " x " + std::to_string(d.y) + " x " + std::to_string(d.z);
}

inline void check(const char* kernel, dim3 grid, dim3 block) {
  const cudaError_t error = cudaGetLastError();
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string("the GPU did not start kernel ") + kernel + " (grid " +
      text(grid) + ", block " + text(block) + "): " + cudaGetErrorString(error));
}

}  // namespace launches

// Asks before, too: an error that others left is not this kernel's
#define LAUNCH(kernel, grid, block, ...)                                                    \
  do {                                                                                      \
    static_assert(launches::Arguments<decltype(&kernel)>::bytes() <= launches::MOST_BYTES,  \
        "more arguments than a kernel takes");                                              \
    const dim3 blocks_of_grid = grid, threads_of_block = block;                             \
    cudaGetLastError();                                                                     \
    kernel<<<blocks_of_grid, threads_of_block>>>(__VA_ARGS__);                              \
    launches::check(#kernel, blocks_of_grid, threads_of_block);                             \
  } while (0)
