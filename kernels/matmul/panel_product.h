#pragma once

// The inner kernel that Matmul and ExpertFfn share: some rows of activations times one panel of 16
// outputs, over all of K, in the order of docs/arithmetic.md. Internal to kernels/.

#include <cstdint>

#include "kernels/base/cpu.h"
#include "kernels/base/numerics.h"
#include "kernels/matmul/matmul.h"

namespace switchyard::kernels {

struct PanelKernel {
  // Rows are read in this type: in class bf16 either bf16 pairs, or fp32 widened once per batch
  // where the processor has no bf16 instruction.
  DType row_type;

  // out[i * 16 + j] = product of rows[i] and output j of the panel, i < count <= kMaxRows.
  // `rows` have RowStride elements that may be read; those beyond k are zero.
  void (*product)(const void* const* rows, int64_t count, const void* panel, int64_t k, float* out);

  // Writes RowStride(k) elements of row_type: k elements of the wire type, then zeros.
  void (*prepare_row)(const void* wire_row, int64_t k, void* row);

  static constexpr int64_t kMaxRows = 96;

  // Elements between prepared rows. The extra line keeps rows of 4096-byte multiples from falling
  // into one cache set.
  static constexpr int64_t RowStride(int64_t k) { return (k + 15) / 16 * 16 + 16; }

  // Whether rows in the wire type can be given to `product` as they are.
  bool TakesWireRows(NumericsClass numerics, int64_t k) const {
    return row_type == WireType(numerics) && (row_type == DType::kFloat32 || k % 2 == 0);
  }
};

// `level` must not be above what the processor has.
const PanelKernel& PanelKernelFor(NumericsClass numerics, CpuLevel level);

// One per level, defined in panel_product_<level>.cc.
extern const PanelKernel kPanelFp32Scalar;
extern const PanelKernel kPanelBf16Scalar;
extern const PanelKernel kPanelFp32Avx2;
extern const PanelKernel kPanelBf16Avx2;
extern const PanelKernel kPanelFp32Avx512;
extern const PanelKernel kPanelBf16Avx512;
extern const PanelKernel kPanelBf16Avx512Bf16;

}  // namespace switchyard::kernels
