#include "kernels/positions/positions.h"

#include <cmath>

#include "kernels/base/bf16.h"

namespace switchyard::kernels {
namespace {

float Widen(float value) { return value; }
float Widen(uint16_t value) { return Bf16ToFloat(value); }

template <typename T>
void AddRows(const AddPositionsArgs& args) {
  for (int64_t row = 0; row < args.rows; ++row) {
    const T* const position = static_cast<const T*>(args.table) + args.positions[row] * args.width;
    float* const output = args.output + row * args.width;
    for (int64_t i = 0; i < args.width; ++i) output[i] += Widen(position[i]);
  }
}

}  // namespace

void AddPositions(const AddPositionsArgs& args) {
  if (args.type == DType::kFloat32) {
    AddRows<float>(args);
  } else {
    AddRows<uint16_t>(args);
  }
}

Floats SinusoidalPositions(int64_t count, int64_t width) {
  Floats table(count * width);
  for (int64_t i = 0; i < width; ++i) {
    const double wavelength =
        std::pow(10000.0, static_cast<double>(i - i % 2) / static_cast<double>(width));
    for (int64_t t = 0; t < count; ++t) {
      const double angle = static_cast<double>(t) / wavelength;
      table[t * width + i] = static_cast<float>(i % 2 == 0 ? std::sin(angle) : std::cos(angle));
    }
  }
  return table;
}

}  // namespace switchyard::kernels
