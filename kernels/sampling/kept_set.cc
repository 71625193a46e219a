#include "kernels/sampling/kept_set.h"

#include <algorithm>

#include "kernels/base/math.h"
#include "kernels/sampling/sum_exp.h"

namespace switchyard::kernels {
namespace {

// Orders ids as the cut does.
auto Before(std::span<const float> values) {
  return [values](int32_t a, int32_t b) {
    return values[a] > values[b] || (values[a] == values[b] && a < b);
  };
}

// Leaves in `ids` the `count` largest, in no order. Candidates collect until there are several
// times too many, then are cut back; from then on the worst survivor keeps almost all others out.
void CollectLargest(std::span<const float> values, int64_t count, std::vector<int32_t>& ids) {
  const int64_t limit = 4 * count + 64;
  const auto before = Before(values);
  const auto cut_back = [&] {
    std::nth_element(ids.begin(), ids.begin() + (count - 1), ids.end(), before);
    ids.resize(count);
    return values[ids.back()];
  };
  ids.clear();
  float floor = -std::numeric_limits<float>::infinity();
  bool cut = false;  // before the first cut -inf is a candidate too
  for (int64_t i = 0; i < static_cast<int64_t>(values.size()); ++i) {
    if (cut && !(values[i] > floor)) continue;  // an equal one has a higher id
    ids.push_back(static_cast<int32_t>(i));
    if (static_cast<int64_t>(ids.size()) == limit) {
      floor = cut_back();
      cut = true;
    }
  }
  if (static_cast<int64_t>(ids.size()) > count) cut_back();
}

// The smallest value that top-k keeps.
float TopKThreshold(std::span<const float> values, int32_t top_k, std::vector<int32_t>& scratch) {
  CollectLargest(values, top_k, scratch);
  float threshold = std::numeric_limits<float>::infinity();
  for (int32_t id : scratch) threshold = std::min(threshold, values[id]);
  return threshold;
}

// Walks the order from the top until the mass passed reaches p. The head of a language model's
// distribution holds most of it, so only tokens near the maximum are sorted, more if need be.
KeptSet CutAtMass(std::span<const float> values, float max, float floor, float top_p,
                  std::vector<int32_t>& ids) {
  const double target = static_cast<double>(top_p) * SumExp(values, max, floor);
  for (float margin = 4;; margin *= 2) {
    const bool all = margin > 128;  // Exp is 0 beyond
    const float lowest = all ? floor : std::max(floor, max - margin);
    ids.clear();
    for (int64_t i = 0; i < static_cast<int64_t>(values.size()); ++i) {
      if (values[i] >= lowest) ids.push_back(static_cast<int32_t>(i));
    }
    std::sort(ids.begin(), ids.end(), Before(values));
    double above = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
      above += Exp(values[ids[i]] - max);
      if (above >= target) return {.threshold = values[ids[i]], .last_id = ids[i]};
    }
    if (all) return {.threshold = floor};  // rounding left the total below p
  }
}

}  // namespace

KeptSet SelectKept(std::span<const float> values, float max, const KeptRules& rules,
                   std::vector<int32_t>& scratch) {
  KeptSet kept;
  if (rules.min_p > 0) kept.threshold = max + std::min(Log(rules.min_p), 0.0f);
  if (rules.top_k > 0 && rules.top_k < static_cast<int64_t>(values.size())) {
    kept.threshold = std::max(kept.threshold, TopKThreshold(values, rules.top_k, scratch));
  }
  if (rules.top_p < 1.0f) kept = CutAtMass(values, max, kept.threshold, rules.top_p, scratch);
  return kept;
}

void LargestIds(std::span<const float> values, int64_t count, std::vector<int32_t>& ids) {
  count = std::min(count, static_cast<int64_t>(values.size()));
  ids.clear();
  if (count <= 0) return;
  CollectLargest(values, count, ids);
  std::sort(ids.begin(), ids.end(), Before(values));
}

}  // namespace switchyard::kernels
