#include "kernels/base/math.h"
#include "kernels/elementwise/elementwise.h"

namespace switchyard::kernels {
namespace {

// x = f(x, row, element) for all elements.
template <typename F>
void Update(const FloatRows& rows, F f) {
  SetComputeThreadFloatMode();
  for (int64_t row = 0; row < rows.count; ++row) {
    for (int64_t i = 0; i < rows.width; ++i) {
      float& x = rows.x[row * rows.stride + i];
      x = f(x, row, i);
    }
  }
}

}  // namespace

void ClampReference(const FloatRows& rows, float limit) {
  Update(rows, [&](float x, int64_t, int64_t) {
    const float raised = -limit > x ? -limit : x;
    return limit < raised ? limit : raised;
  });
}

void AddReference(const FloatRows& rows, const float* y) {
  Update(rows, [&](float x, int64_t row, int64_t i) { return x + y[row * rows.width + i]; });
}

void AddBiasReference(const FloatRows& rows, const float* bias) {
  Update(rows, [&](float x, int64_t, int64_t i) { return x + bias[i]; });
}

void AddGatedReference(const FloatRows& rows, const float* gate, const float* y) {
  Update(rows, [&](float x, int64_t row, int64_t i) {
    return x + Sigmoid(gate[row]) * y[row * rows.width + i];
  });
}

}  // namespace switchyard::kernels
