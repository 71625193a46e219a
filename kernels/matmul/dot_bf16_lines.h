#pragma once

// The lines of panel_product_impl.h for a processor with VDPBF16PS.

#include "kernels/matmul/panel_product_impl.h"

namespace switchyard::kernels::SWITCHYARD_SIMD {

// One VDPBF16PS a row: it adds the odd product, then the even one, and flushes subnormals.
struct DotBf16Lines {
  using X = uint16_t;
  static constexpr int64_t kDepth = 2;

  template <int kRows>
  SWITCHYARD_INLINE static void Step(const X* const* x, int64_t k, const char* line, F32x16* sums) {
    const __m512bh w = std::bit_cast<__m512bh>(_mm512_loadu_si512(line));
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
      int32_t pair;
      __builtin_memcpy(&pair, x[row] + k, sizeof(pair));
      sums[row].all =
          _mm512_dpbf16_ps(sums[row].all, w, std::bit_cast<__m512bh>(_mm512_set1_epi32(pair)));
    }
  }
};

}  // namespace switchyard::kernels::SWITCHYARD_SIMD
