#include <cmath>

#include "kernels/base/bf16.h"
#include "kernels/base/lane_sum.h"
#include "kernels/base/math.h"
#include "kernels/layernorm/layernorm.h"

namespace switchyard::kernels {

void LayerNormReference(const LayerNormArgs& args) {
  SetComputeThreadFloatMode();
  const float width = static_cast<float>(args.width);
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* x = args.x + row * args.width;
    LaneSum sum, squares;
    for (int64_t i = 0; i < args.width; ++i) sum.Add(i, x[i]);
    const float mean = sum.Total() / width;
    for (int64_t i = 0; i < args.width; ++i) {
      float& lane = squares.lane[i % 16];
      lane = std::fma(x[i] - mean, x[i] - mean, lane);
    }
    const float scale = Rsqrt(squares.Total() / width + args.epsilon);
    for (int64_t i = 0; i < args.width; ++i) {
      const float value = ((x[i] - mean) * scale) * args.weight[i] + args.bias[i];
      if (args.output_type == DType::kFloat32) {
        static_cast<float*>(args.y)[row * args.width + i] = value;
      } else {
        static_cast<uint16_t*>(args.y)[row * args.width + i] = FloatToBf16(value);
      }
    }
  }
}

}  // namespace switchyard::kernels
