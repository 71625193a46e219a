#pragma once

// The tokens that min-p, top-k and top-p leave to choose from. A token's place in the order (value
// descending, id ascending) decides, so the set is a cut of that order and needs no list.

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace switchyard::kernels {

// Keeps the tokens whose value is above `threshold`, and of those equal to it the ids up to
// `last_id`.
struct KeptSet {
  float threshold = -std::numeric_limits<float>::infinity();
  int32_t last_id = std::numeric_limits<int32_t>::max();

  constexpr bool Contains(float value, int32_t id) const {
    return value > threshold || (value == threshold && id <= last_id);
  }
};

struct KeptRules {
  float min_p = 0;    // 0: off
  int32_t top_k = 0;  // <= 0: off
  float top_p = 1;    // >= 1: off
};

// `values`: logits after temperature, none NaN or +inf, at least one finite; `max` is their
// maximum. min_p (Nguyen et al. 2024) removes values below max + Log(min_p), that is probabilities
// below min_p times the largest. top_k keeps every token equal to the k-th largest. top_p then
// removes a token when its own mass plus that of all less probable ones is <= 1 - p; the best
// always stays. Masses are Exp(value - max) of what top-k kept, their total is SumExp (sum_exp.h),
// and the mass above a token adds up in fp64 in the order of the cut. `scratch` keeps its memory
// between calls.
KeptSet SelectKept(std::span<const float> values, float max, const KeptRules& rules,
                   std::vector<int32_t>& scratch);

// Ids of the `count` largest values, best first, the lowest id first among equals, into `ids`.
// No value may be NaN. Cost: one pass over the values plus a sort of `count`.
void LargestIds(std::span<const float> values, int64_t count, std::vector<int32_t>& ids);

}  // namespace switchyard::kernels
