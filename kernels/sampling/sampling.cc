#include "kernels/sampling/sampling.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/base/math.h"
#include "kernels/base/thread_pool.h"
#include "kernels/sampling/gumbel.h"
#include "kernels/sampling/kept_set.h"

namespace switchyard::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float NoiseOf(uint32_t word) { return GumbelFromWord(word, Log); }

// Never below NoiseOf(word): -log(E) <= -log(v), and v >= 2^-(leading zeros + 1).
float GumbelBound(uint32_t word) {
  constexpr float kLog2 = 0.6931472f, kSlack = 0.001f;
  return static_cast<float>(std::countl_zero(word) + 1) * kLog2 + kSlack;
}

// First of the largest; -1 when a logit is NaN or +inf, or all are -inf.
int32_t ArgMax(std::span<const float> logits) {
  int32_t best = -1;
  float max = -kInfinity;
  bool valid = true;
  for (size_t i = 0; i < logits.size(); ++i) {
    valid &= logits[i] < kInfinity;  // false for NaN too
    if (logits[i] > max) {
      max = logits[i];
      best = static_cast<int32_t>(i);
    }
  }
  return valid ? best : -1;
}

// The arg-max of value + noise over the kept tokens. The best so far, at first the most likely
// token, bounds what the noise of another must reach, so that few logarithms are computed.
class GumbelArgMax {
 public:
  GumbelArgMax(std::span<const float> values, const KeptSet& kept, int32_t likeliest, uint64_t seed,
               int64_t position)
      : values_(values), kept_(kept), seed_(seed), position_(position) {
    Take(likeliest, values[likeliest] + GumbelNoise(seed, position, likeliest));
  }

  int32_t Find() {
    const int32_t size = static_cast<int32_t>(values_.size());
    const int32_t whole = size - size % kNoiseGroup;
    for (int32_t first = 0; first < whole; first += kNoiseGroup) {
      const float* group = values_.data() + first;
      const float largest = std::max(std::max(group[0], group[1]), std::max(group[2], group[3]));
      if (largest >= least_) TryGroup(first, first + kNoiseGroup);
    }
    if (whole < size) TryGroup(whole, size);
    return best_;
  }

 private:
  void Take(int32_t id, float score) {
    best_ = id;
    score_ = score;
    // A value that the greatest noise cannot lift to the score; the slack covers every rounding.
    const float reach = GumbelBound(0) + 1e-5f * std::abs(score);
    least_ = std::max(kept_.threshold, score - reach);
  }

  void TryGroup(int32_t first, int32_t end) {
    const std::array<uint32_t, 4> words = RandomWords(seed_, position_, first / kNoiseGroup);
    for (int32_t id = first; id < end; ++id) {
      const uint32_t word = words[id - first];
      if (values_[id] + GumbelBound(word) < score_ || !kept_.Contains(values_[id], id)) continue;
      const float score = values_[id] + NoiseOf(word);
      if (score > score_ || (score == score_ && id < best_)) Take(id, score);
    }
  }

  const std::span<const float> values_;
  const KeptSet kept_;
  const uint64_t seed_;
  const int64_t position_;
  int32_t best_ = -1;
  float score_ = 0;
  float least_ = 0;
};

}  // namespace

float GumbelNoise(uint64_t seed, int64_t position, int32_t token) {
  return NoiseOf(RandomWords(seed, position, token / kNoiseGroup)[token % kNoiseGroup]);
}

int32_t SampleToken(std::span<const float> logits, const SamplingParameters& parameters,
                    int64_t position, SamplingWorkspace& workspace) {
  SetComputeThreadFloatMode();
  const int32_t likeliest = ArgMax(logits);
  if (likeliest < 0 || parameters.temperature < kGreedyTemperature) return likeliest;
  workspace.processed.resize(logits.size());
  const std::span<float> values(workspace.processed);
  for (size_t i = 0; i < logits.size(); ++i) values[i] = logits[i] / parameters.temperature;
  if (values[likeliest] == kInfinity) return likeliest;  // overflow: no other comes near
  const KeptSet kept =
      SelectKept(values, values[likeliest],
                 {.min_p = parameters.min_p, .top_k = parameters.top_k, .top_p = parameters.top_p},
                 workspace.order);
  return GumbelArgMax(values, kept, likeliest, parameters.seed, position).Find();
}

}  // namespace switchyard::kernels
