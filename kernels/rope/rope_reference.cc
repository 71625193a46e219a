#include "kernels/base/math.h"
#include "kernels/rope/rope.h"

namespace switchyard::kernels {

void RopeReference(const RopeArgs& args) {
  SetComputeThreadFloatMode();
  const int64_t half = static_cast<int64_t>(args.table->inverse_frequency.size());
  for (int64_t row = 0; row < args.rows; ++row) {
    for (int64_t head = 0; head < args.heads; ++head) {
      float* x = args.x + row * args.row_stride + head * args.head_dim;
      for (int64_t i = 0; i < half; ++i) {
        const float angle =
            static_cast<float>(args.positions[row]) * args.table->inverse_frequency[i];
        float sine, cosine;
        SinCos(angle, &sine, &cosine);
        sine *= args.table->attention_factor;
        cosine *= args.table->attention_factor;
        float& a = args.interleaved ? x[2 * i] : x[i];
        float& b = args.interleaved ? x[2 * i + 1] : x[i + half];
        const float first = a, second = b;
        a = first * cosine - second * sine;
        b = second * cosine + first * sine;
      }
    }
  }
}

}  // namespace switchyard::kernels
