#pragma once

// Checkpoints with random weights, for benchmarks and tests of any size: a folder that
// Checkpoint::Open reads like a downloaded one.

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "kernels/base/thread_pool.h"
#include "services/model/model_spec.h"

namespace switchyard::model {

struct MixtralDimensions {
  int64_t hidden = 0;
  int64_t intermediate = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t experts = 0;
  int64_t top_k = 0;
  int64_t vocabulary = 0;
  int64_t max_positions = 32768;
};

// A spec of family mixtral, bf16, with defaults for the rest.
ModelSpec MixtralSpec(const MixtralDimensions& dimensions);

// The config.json that ParseConfig reads back as `spec` (which is of family mixtral or llama, all
// layers alike).
std::string ConfigJson(const ModelSpec& spec);

// Writes config.json and model.safetensors into `folder`, which is created: matrices from
// Normal(0, 0.02), norms 1, as bf16 or fp32 as the spec says. The bytes depend on spec and seed
// only. Streams: memory is a few megabytes a thread.
absl::Status WriteRandomCheckpoint(const ModelSpec& spec, uint64_t seed, const std::string& folder,
                                   kernels::ThreadPool& pool);

}  // namespace switchyard::model
