#pragma once

// How many tokens one expert accepts: the formula of each system, each in its own order of
// operations and roundings (no two agree).

#include <cstdint>
#include <limits>

namespace switchyard::kernels {

// T tokens of the group that counts together, E experts, K choices, cf = `factor`.
enum class CapacityFormula : uint8_t {
  kUnlimited,
  kFixed,      // `fixed` (transformers' Switch: config.expert_capacity)
  kSwitch,     // int(T/E * cf): arXiv 2101.03961 eq. 3; GShard's 2N/(GE) with cf 2
  kMegatron,   // ceil(T*K/E * cf) in doubles: 50 * 1.1 gives 56
  kDeepSpeed,  // max(ceil(fp32(T/E) * fp32(cf*K)), 4), the product rounded to fp32
  kMesh,       // max(min(T, int(T*cf/E)), 4); K does not enter
  kTutel,      // K * int(cf * ceil(T/E))
  kMegablocks  // int(cf * (K*T*expert_parallel/E))
};

struct CapacityRule {
  CapacityFormula formula = CapacityFormula::kUnlimited;
  double factor = 0.0;          // 0: no limit, whatever the formula (Tutel's maximum load)
  int64_t fixed = 0;            // of kFixed
  int64_t minimum = -1;         // -1: the formula's own (4 for DeepSpeed and Mesh, else 0)
  int64_t expert_parallel = 1;  // MegaBlocks: ranks that share the experts
};

inline constexpr int64_t kUnlimitedCapacity = std::numeric_limits<int64_t>::max();

bool IsLimited(const CapacityRule& rule);

// kUnlimitedCapacity where the rule sets no limit.
int64_t ExpertCapacity(const CapacityRule& rule, int64_t tokens, int64_t experts, int64_t k);

}  // namespace switchyard::kernels
