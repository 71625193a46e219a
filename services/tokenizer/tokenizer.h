#pragma once

// Text to token ids and back, by the tokenizer in a checkpoint's folder: tokenizer.json (Hugging
// Face's format) or else tokenizer.model (SentencePiece), as transformers chooses.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "services/tokenizer/incremental_decoder.h"

namespace switchyard::tokenizer {

// Immutable after Open(): all methods are const and safe to call from many threads.
class Tokenizer {
 public:
  // NOT_FOUND when the folder holds no tokenizer, INVALID_ARGUMENT when a file is not what it
  // should be. Messages name the file within the folder.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& folder);

  virtual ~Tokenizer() = default;

  // Ids of a user's text. With add_special also the tokens that the model wants around a text. The
  // names of special tokens in it are plain text for SentencePiece, and the tokens for
  // tokenizer.json, as in either library. INVALID_ARGUMENT where the text takes too long.
  virtual absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                                      bool add_special) const = 0;

  // Ids of text that a chat template made: names of special tokens stand for the tokens, as in
  // transformers, and nothing is added.
  virtual absl::StatusOr<std::vector<int32_t>> EncodeRendered(std::string_view text) const = 0;

  // Ids outside the vocabulary give no text.
  virtual std::string Decode(const std::vector<int32_t>& ids, bool skip_special) const = 0;

  // Decodes ids one by one. The tokenizer must outlive it.
  virtual std::unique_ptr<IncrementalDecoder> NewDecoder(bool skip_special) const = 0;

  // The text of one token on its own, its leading space kept; nothing where there is no such token.
  // A token that is part of a character gives its bytes, so the result may be no valid UTF-8.
  virtual std::string TokenBytes(int32_t id) const = 0;

  virtual bool HasToken(int32_t id) const = 0;

  // Ids are below it; a few of them may stand for nothing.
  virtual int32_t vocabulary() const = 0;

  virtual int32_t bos_id() const = 0;  // -1: none
  virtual int32_t eos_id() const = 0;

  // No token stands for more bytes of text, except where the model collapses spaces or unknown
  // characters: a longer text than n times this has more than n tokens.
  virtual size_t max_token_bytes() const = 0;

 protected:
  Tokenizer() = default;
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;
};

}  // namespace switchyard::tokenizer
