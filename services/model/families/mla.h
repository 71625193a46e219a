#pragma once

// What DeepSeek-V2 and V3 share: latent attention, dense first layers, shared experts.

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/model/families/family.h"
#include "services/model/families/parse.h"

namespace switchyard::model {

struct DeepseekOptions {
  Defaults defaults;
  bool interleaved = true;     // of the rope
  int64_t dense_layers = 0;    // an absent first_k_dense_replace
  int64_t shared_experts = 0;  // an absent n_shared_experts
};

// Everything but the MTP block; `router` is that of every MoE layer. The last layer is one.
absl::Status ParseDeepseek(const JsonFields& config, const DeepseekOptions& options,
                           const RouterSpec& router, ModelSpec& spec);

// A MoE layer's network of DeepSeek and GLM: moe_intermediate_size and n_shared_experts.
absl::StatusOr<FfnSpec> ParseDeepseekMoe(const JsonFields& config, const RouterSpec& router,
                                         int64_t default_shared);

// The first `first_k_dense_replace` layers are dense, the others as `moe`.
absl::Status SetDenseFirst(const JsonFields& config, int64_t layers, int64_t default_dense,
                           const AttentionSpec& attention, const FfnSpec& moe, ModelSpec& spec);

// Of V3 and GLM.
inline constexpr FamilyNames kDeepseekNames = {.layer = {.shared = "mlp.shared_experts."},
                                               .mtp = true};

}  // namespace switchyard::model
