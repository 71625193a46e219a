#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "services/model/shard_set.h"

namespace switchyard::model {

// A 64-bit identity of a checkpoint: XXH3 over config.json, over every tensor's name, type, shape,
// file and offsets, and over 256 bytes from the middle of up to 256 tensors spread over the model.
// It tells different models apart; it is no checksum of the weights.
absl::StatusOr<uint64_t> CheckpointDigest(const std::string& config, const ShardSet& shards);

}  // namespace switchyard::model
