#include <limits>

#include "kernels/base/math.h"
#include "kernels/base/thread_pool.h"
#include "kernels/sampling/kept_set.h"
#include "kernels/sampling/sampling.h"
#include "kernels/sampling/sum_exp.h"

namespace switchyard::kernels {

LogprobResult Logprobs(std::span<const float> logits, int32_t token, int32_t top) {
  SetComputeThreadFloatMode();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  float max = -kInfinity;
  bool valid = true;
  for (float logit : logits) {
    valid &= logit < kInfinity;  // false for NaN too
    max = logit > max ? logit : max;
  }
  if (!valid || max == -kInfinity) return {.logprob = std::numeric_limits<float>::quiet_NaN()};

  const float log_total = Log(static_cast<float>(SumExp(logits, max, -kInfinity)));
  const auto logprob = [&](int32_t id) { return (logits[id] - max) - log_total; };
  LogprobResult result{.logprob = logprob(token)};
  for (int32_t id = 0; id < static_cast<int32_t>(logits.size()); ++id) {
    result.rank += logits[id] > logits[token] || (logits[id] == logits[token] && id < token);
  }
  std::vector<int32_t> ids;
  LargestIds(logits, top, ids);
  for (int32_t id : ids) result.top.push_back({.token = id, .logprob = logprob(id)});
  return result;
}

}  // namespace switchyard::kernels
