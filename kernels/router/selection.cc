#include "kernels/router/selection.h"

#include <limits>

#include "kernels/base/lane_sum.h"
#include "kernels/base/math.h"

namespace switchyard::kernels {

float MaxOrNan(const float* values, int64_t count) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  float max = -kInfinity;
  bool valid = true;
  for (int64_t i = 0; i < count; ++i) {
    valid &= values[i] < kInfinity;  // false for NaN too
    max = values[i] > max ? values[i] : max;
  }
  return valid && max > -kInfinity ? max : std::numeric_limits<float>::quiet_NaN();
}

// Insertion into a list of the k best so far. Ascending ids and a strict comparison leave the
// lowest id first among equals.
void SelectLargest(const float* values, int64_t count, int64_t k, int32_t* ids) {
  int64_t held = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (held == k && !(values[i] > values[ids[k - 1]])) continue;
    int64_t place = held < k ? held++ : k - 1;
    for (; place > 0 && values[i] > values[ids[place - 1]]; --place) ids[place] = ids[place - 1];
    ids[place] = static_cast<int32_t>(i);
  }
}

float SumExp(const float* logits, int64_t count, float max) {
  LaneSum total;
  for (int64_t i = 0; i < count; ++i) total.Add(i, Exp(logits[i] - max));
  return total.Total();
}

bool Softmax(const float* logits, int64_t count, float* probabilities) {
  const float max = MaxOrNan(logits, count);
  if (max != max) return false;
  const float total = SumExp(logits, count, max);
  for (int64_t i = 0; i < count; ++i) probabilities[i] = Exp(logits[i] - max) / total;
  return true;
}

}  // namespace switchyard::kernels
