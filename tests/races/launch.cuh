// In place of the kernels' own: what it checks is of a GPU
#pragma once

#include "cuda_runtime.h"

#define LAUNCH(kernel, grid, block, ...) race::of(#kernel, kernel, grid, block)(__VA_ARGS__)
