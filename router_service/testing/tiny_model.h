#pragma once

// Checkpoints with random weights, small enough to compute in milliseconds.

#include <string>

#include "services/model/checkpoint.h"

namespace switchyard::router {

inline constexpr int32_t kTinyVocabulary = 96;
// A token of the tiny models whose embedding is not a number.
inline constexpr int32_t kPoisonToken = 95;

// Two MoE layers of four experts, top-2. Written once a process, in the test's temporary folder.
const std::string& TinyMoeFolder();
const model::Checkpoint& TinyMoeCheckpoint();

// Two dense layers: needs no expert host.
const std::string& TinyDenseFolder();

}  // namespace switchyard::router
