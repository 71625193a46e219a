#include "kernels/router/bias_update.h"

#include <numeric>

namespace switchyard::kernels {
namespace {

// sign(mean - load[i]), exact.
int64_t Direction(const int64_t* load, int64_t experts, int64_t total, int64_t i) {
  const int64_t missing = total - experts * load[i];
  return (missing > 0) - (missing < 0);
}

}  // namespace

void UpdateBias(const int64_t* load, int64_t experts, float step, bool center, float* bias) {
  const int64_t total = std::accumulate(load, load + experts, int64_t{0});
  int64_t balance = 0;
  for (int64_t i = 0; i < experts; ++i) balance += Direction(load, experts, total, i);
  const float mean =
      center ? step * static_cast<float>(balance) / static_cast<float>(experts) : 0.0f;
  for (int64_t i = 0; i < experts; ++i) {
    bias[i] += step * static_cast<float>(Direction(load, experts, total, i)) - mean;
  }
}

}  // namespace switchyard::kernels
