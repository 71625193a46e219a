#include "kernels/attention/relative_bias.h"

#include <algorithm>
#include <cmath>

namespace switchyard::kernels {
namespace {

float LogRounded(double x) { return static_cast<float>(std::log(x)); }

}  // namespace

int64_t RelativeBucket(const RelativeBuckets& buckets, int64_t offset) {
  const int64_t count = buckets.bidirectional ? buckets.buckets / 2 : buckets.buckets;
  const int64_t side = buckets.bidirectional && offset > 0 ? count : 0;
  const int64_t distance = buckets.bidirectional ? std::abs(offset) : std::max<int64_t>(0, -offset);
  const int64_t exact = count / 2;
  if (distance < exact) return side + distance;
  // Steps and types as in transformers, so that a distance on an edge falls to the same side.
  const float ratio = static_cast<float>(distance) / static_cast<float>(exact);
  const float range = LogRounded(static_cast<double>(buckets.max_distance) / exact);
  const float far = LogRounded(ratio) / range * static_cast<float>(count - exact);
  return side + std::min(exact + static_cast<int64_t>(far), count - 1);
}

RelativeBias::RelativeBias(const RelativeBuckets& buckets, std::span<const float> weights)
    : reach_(buckets.max_distance), stride_(2 * (reach_ + RelativeBiasTable::kMargin) + 1) {
  const int64_t heads = static_cast<int64_t>(weights.size()) / buckets.buckets;
  const int64_t outermost = reach_ + RelativeBiasTable::kMargin;
  values_.resize(heads * stride_);
  for (int64_t offset = -outermost; offset <= outermost; ++offset) {
    const float* const row = weights.data() + RelativeBucket(buckets, offset) * heads;
    for (int64_t head = 0; head < heads; ++head) {
      values_[head * stride_ + outermost + offset] = row[head];
    }
  }
}

RelativeBiasTable RelativeBias::table() const {
  return {.values = values_.data() + reach_ + RelativeBiasTable::kMargin,
          .head_stride = stride_,
          .reach = reach_};
}

}  // namespace switchyard::kernels
