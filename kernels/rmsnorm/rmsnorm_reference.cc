#include <cmath>

#include "kernels/base/bf16.h"
#include "kernels/base/lane_sum.h"
#include "kernels/base/math.h"
#include "kernels/rmsnorm/rmsnorm.h"

namespace switchyard::kernels {

void RmsNormReference(const RmsNormArgs& args) {
  SetComputeThreadFloatMode();
  for (int64_t vector = 0; vector < args.rows * args.heads; ++vector) {
    const float* x = args.x + args.Offset(vector, args.x_stride);
    const int64_t y = args.Offset(vector, args.y_stride);
    LaneSum squares;
    for (int64_t i = 0; i < args.width; ++i) {
      float& lane = squares.lane[i % 16];
      lane = std::fma(x[i], x[i], lane);
    }
    const float scale = Rsqrt(squares.Total() / static_cast<float>(args.width) + args.epsilon);
    for (int64_t i = 0; i < args.width; ++i) {
      const float value = (x[i] * scale) * args.weight[i];
      if (args.output_type == DType::kFloat32) {
        static_cast<float*>(args.y)[y + i] = value;
      } else {
        static_cast<uint16_t*>(args.y)[y + i] = FloatToBf16(value);
      }
    }
  }
}

}  // namespace switchyard::kernels
