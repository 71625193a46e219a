#pragma once

// Hosts as an operator writes them: "8x80GiB", "80GiB,40GiB", "4x80GiB,2x40GiB".

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace switchyard::plan {

inline constexpr int64_t kMaxHosts = 4096;

// Memory of each host in bytes. Units: MB, GB, TB (powers of 1000) and MiB, GiB, TiB (of 1024).
absl::StatusOr<std::vector<int64_t>> ParseHosts(std::string_view text);

}  // namespace switchyard::plan
