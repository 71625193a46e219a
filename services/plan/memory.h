#pragma once

// Memory of each role, in bytes, before anything is loaded. Weights and KV cache are what the roles
// allocate, to the byte; working memory is what their buffers come to at the default sizes.

#include <cstdint>

#include "kernels/base/numerics.h"
#include "services/model/model_spec.h"

namespace switchyard::plan {

// A routed expert of this layer (an index of ModelSpec::Block) as an expert host holds it.
int64_t ExpertBytes(const model::ModelSpec& spec, int64_t layer, kernels::NumericsClass numerics);

// Everything but the routed experts, as a router worker holds it. The embedding is taken to be
// stored in the class's own type. Without the block for multi-token prediction.
int64_t RouterWeightBytes(const model::ModelSpec& spec, kernels::NumericsClass numerics);

// KV cache of one position over all layers. Pages hold kernels::KvLayout::kPagePositions of them.
int64_t KvBytesPerToken(const model::ModelSpec& spec, kernels::NumericsClass numerics);

// KV cache of `streams` sequences of `context` positions, each in whole pages.
int64_t KvBytes(const model::ModelSpec& spec, kernels::NumericsClass numerics, int64_t context,
                int64_t streams);

// Two micro-batches of a router worker at their full size, scratch of its layers, and the block of
// rows that have their logits at a time.
int64_t ActivationBytes(const model::ModelSpec& spec, kernels::NumericsClass numerics);

// Slots of one channel between a router worker and an expert host, both directions; each of the two
// has them.
int64_t ChannelBytes(const model::ModelSpec& spec, kernels::NumericsClass numerics);

}  // namespace switchyard::plan
