#pragma once

// Text from token ids, one id at a time.

#include <cstdint>
#include <string>

#include "services/tokenizer/tokenizer.h"

namespace switchyard::tokenizer {

// Joined, what it returns equals Tokenizer::Decode of all the ids. Text that ends in U+FFFD is held
// back until more ids or Finish() decide it, so half a character is never returned. Not
// thread-safe.
class IncrementalDecoder {
 public:
  // The tokenizer must outlive the decoder.
  IncrementalDecoder(const Tokenizer& tokenizer, bool skip_special)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}

  // From here on the ids continue a text: the space before the first word is kept.
  void ContinueText() { at_start_ = false; }

  // The text that this id settles; often empty.
  std::string Append(int32_t id);

  // What is still held back.
  std::string Finish();

 private:
  void AppendPiece(int32_t id);
  void FlushBytes();

  const Tokenizer& tokenizer_;
  const bool skip_special_;
  bool at_start_ = true;  // no text yet: leading spaces may have to go
  std::string held_;      // decoded, not returned yet
  std::string bytes_;     // byte pieces after held_, not decoded yet
};

}  // namespace switchyard::tokenizer
