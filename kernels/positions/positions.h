#pragma once

// Absolute positions, learned or sinusoidal, added to token embeddings: output[row][i] +=
// table[positions[row]][i], the table widened exactly to fp32, the sum rounded.

#include <cstdint>

#include "kernels/base/memory.h"
#include "kernels/base/numerics.h"

namespace switchyard::kernels {

// table: [positions][width] of `type`, row-major. positions: one a row, each inside the table,
// checked by the caller. output: rows x width fp32.
struct AddPositionsArgs {
  const void* table = nullptr;
  DType type = DType::kFloat32;
  int64_t width = 0;
  const int64_t* positions = nullptr;
  int64_t rows = 0;
  float* output = nullptr;
};

void AddPositions(const AddPositionsArgs& args);

// [count][width]: sin(t / 10000^(2i / width)) at element 2i of position t and the cosine at 2i + 1,
// computed in double precision and rounded once.
Floats SinusoidalPositions(int64_t count, int64_t width);

}  // namespace switchyard::kernels
