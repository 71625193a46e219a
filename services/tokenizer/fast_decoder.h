#pragma once

#include <string>
#include <vector>

#include "services/tokenizer/fast_tokenizer.h"
#include "services/tokenizer/incremental_decoder.h"

namespace switchyard::tokenizer {

// Only the tokens that begin a text, and runs of bytes, are decoded by the library; what the others
// print is known.
class FastDecoder : public IncrementalDecoder {
 public:
  // The tokenizer must outlive the decoder.
  FastDecoder(const FastTokenizer& tokenizer, bool skip_special)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}

  void ContinueText() override { at_start_ = false; }
  std::string Append(int32_t id) override;
  std::string Finish() override;

 private:
  std::string AppendAtStart(int32_t id, const FastPiece& piece);
  std::string AppendBytes(const std::string& bytes);
  void FlushRun();

  const FastTokenizer& tokenizer_;
  const bool skip_special_;
  bool at_start_ = true;        // nothing was returned yet, and the first text prints differently
  std::vector<int32_t> start_;  // the ids so far, while at_start_
  std::string held_;            // decoded, not returned yet
  std::vector<int32_t> run_;    // ids of bytes after held_, not decoded yet
  std::string bytes_;           // of a byte-level tokenizer, not decoded yet
};

}  // namespace switchyard::tokenizer
