#pragma once

// Token embedding: rows of a table, widened exactly to fp32 (the residual stream's type).

#include <cstdint>

#include "kernels/base/numerics.h"

namespace switchyard::kernels {

// table: [vocabulary][width] of `type`, row-major. ids: rows ids, each in [0, vocabulary), checked
// by the caller. output: rows x width fp32.
struct EmbeddingArgs {
  const void* table = nullptr;
  DType type = DType::kFloat32;
  int64_t width = 0;
  const int32_t* ids = nullptr;
  int64_t rows = 0;
  float* output = nullptr;
};

void Embedding(const EmbeddingArgs& args);

}  // namespace switchyard::kernels
