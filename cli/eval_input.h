#pragma once

// What `switchyard eval` runs: rows of token ids, from {"input_ids": [[...], ...]} (rows of equal
// length; for an encoder, whose decoder reads "decoder_input_ids" beside it, or where that is left
// out its start token alone) or from {"rows": [{"ids": [...], "reply": [0, 1, ...]}, ...]}, where
// only the marked tokens count for the loss.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace switchyard::cli {

struct EvalRow {
  std::vector<int32_t> ids;
  std::vector<int32_t> source;  // what the encoder reads; then `ids` are the decoder's
  std::vector<bool> counted;    // for the loss; empty: every token but the first
};

struct EvalInput {
  std::vector<EvalRow> rows;
  std::vector<std::vector<int32_t>> decoder_ids;  // a row; empty where the file has none
  bool rectangular = false;  // all rows have one length, so results fit into tensors
};

// Errors name the file and the key.
absl::StatusOr<EvalInput> ReadEvalInput(const std::string& path);

// Makes each row's ids the source and the decoder's the ids; those of rows without any are `start`.
// Errors name the key.
absl::Status SplitSource(int32_t start, EvalInput& input);

// A text's ids cut into rows of at most `length` tokens, each begun by `bos` when that is not -1.
EvalInput CutIntoRows(const std::vector<int32_t>& ids, int64_t length, int64_t bos);

}  // namespace switchyard::cli
