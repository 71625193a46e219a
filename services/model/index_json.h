#pragma once

// model.safetensors.index.json: which shard holds which tensor.

#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace switchyard::model {

// Tensor name -> file name of its shard.
using WeightMap = std::map<std::string, std::string, std::less<>>;

inline constexpr size_t kMaxIndexBytes = 64 << 20;
inline constexpr size_t kMaxShards = 4096;

// `text` is the file's content, `file` what errors call it. Every shard is the plain name of a
// .safetensors file; anything else, a path or a pickle (.bin), is refused.
absl::StatusOr<WeightMap> ParseIndex(const std::string& text, const std::string& file);

}  // namespace switchyard::model
