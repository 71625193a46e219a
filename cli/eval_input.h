#pragma once

// What `switchyard eval` runs: rows of token ids, from {"input_ids": [[...], ...]} (rows of equal
// length) or from {"rows": [{"ids": [...], "reply": [0, 1, ...]}, ...]}, where only the marked
// tokens count for the loss.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace switchyard::cli {

struct EvalRow {
  std::vector<int32_t> ids;
  std::vector<bool> counted;  // for the loss; empty: every token but the first
};

struct EvalInput {
  std::vector<EvalRow> rows;
  bool rectangular = false;  // all rows have one length, so results fit into tensors
};

// Errors name the file and the key.
absl::StatusOr<EvalInput> ReadEvalInput(const std::string& path);

// A text's ids cut into rows of at most `length` tokens, each begun by `bos` when that is not -1.
EvalInput CutIntoRows(const std::vector<int32_t>& ids, int64_t length, int64_t bos);

}  // namespace switchyard::cli
