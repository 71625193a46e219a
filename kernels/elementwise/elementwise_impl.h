// Elementwise operations at one CPU level: included by elementwise_{scalar,avx2,avx512}.cc only
// (simd.h says how).

#include <cstdint>

#include "kernels/base/simd.h"
#include "kernels/elementwise/elementwise_kernel.h"

namespace switchyard::kernels::SWITCHYARD_SIMD {
namespace {

// x = f(x, y) for all elements.
template <typename F>
SWITCHYARD_INLINE void Update(float* x, const float* y, int64_t width, F f) {
  int64_t i = 0;
  for (; i + 16 <= width; i += 16) Store(f(Load(x + i), Load(y + i)), x + i);
  if (i == width) return;
  const int64_t rest = width - i;
  StorePartial(f(LoadPartial(x + i, rest), LoadPartial(y + i, rest)), x + i, rest);
}

void ClampRow(float* x, float limit, int64_t width) {
  // Min and Max pass their second operand where one is NaN.
  Update(x, x, width,
         [&](F32x16 value, F32x16) { return Min(F32x16(limit), Max(F32x16(-limit), value)); });
}

void AddRow(float* x, const float* y, int64_t width) {
  Update(x, y, width, [](F32x16 a, F32x16 b) { return a + b; });
}

void AddGatedRow(float* x, float gate, const float* y, int64_t width) {
  const F32x16 scale(Sigmoid(gate));
  Update(x, y, width, [&](F32x16 a, F32x16 b) { return a + scale * b; });
}

constexpr ElementwiseKernel kKernel = {ClampRow, AddRow, AddGatedRow};

}  // namespace
}  // namespace switchyard::kernels::SWITCHYARD_SIMD
