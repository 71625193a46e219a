#pragma once

// Text from token ids, one id at a time.

#include <cstdint>
#include <string>

namespace switchyard::tokenizer {

// Joined, what it returns equals Tokenizer::Decode of all the ids. Text that more ids may change is
// held back until they or Finish() decide it; so half a character is never returned, nor text that
// ends in U+FFFD before the end. Made by Tokenizer::NewDecoder. Not thread-safe.
class IncrementalDecoder {
 public:
  virtual ~IncrementalDecoder() = default;

  // From here on the ids continue a text: the space before the first word is kept.
  virtual void ContinueText() = 0;

  // The text that this id settles; often empty.
  virtual std::string Append(int32_t id) = 0;

  // What is still held back.
  virtual std::string Finish() = 0;
};

}  // namespace switchyard::tokenizer
