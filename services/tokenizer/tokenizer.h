#pragma once

// Text to token ids and back, by the tokenizer.model (SentencePiece) in a checkpoint's folder.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "services/tokenizer/sentence_piece_model.h"

namespace switchyard::tokenizer {

// What tokenizer_config.json says; each field has its default where the file or the key is missing.
struct TokenizerConfig {
  bool add_bos = true;
  bool add_eos = false;
  // A space in front of text that follows a special token.
  bool legacy = true;
  std::string bos_token;  // empty: the model's own
  std::string eos_token;
};

// Immutable after Open(): all methods are const and safe to call from many threads.
class Tokenizer {
 public:
  // NOT_FOUND when the folder holds no tokenizer.model, INVALID_ARGUMENT when a file is not what it
  // should be. Messages name the file within the folder.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& folder);

  // Ids of plain text. The names of special tokens in it are plain text too. With add_special the
  // bos (and eos) ids are added that tokenizer_config.json asks for.
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool add_special) const;

  // Ids of text that a chat template made: names of special tokens stand for the tokens, as in
  // transformers, and nothing is added.
  absl::StatusOr<std::vector<int32_t>> EncodeRendered(std::string_view text) const;

  // Ids outside the vocabulary give no text.
  std::string Decode(const std::vector<int32_t>& ids, bool skip_special) const;

  // The text of one token on its own, its leading space kept. A byte piece gives that one byte, so
  // the result may be no valid UTF-8.
  std::string TokenBytes(int32_t id) const;

  // Null outside the vocabulary.
  const Piece* piece(int32_t id) const {
    const auto& pieces = model_->pieces();
    return id < 0 || static_cast<size_t>(id) >= pieces.size() ? nullptr : &pieces[id];
  }
  int32_t vocabulary() const { return static_cast<int32_t>(model_->pieces().size()); }
  int32_t bos_id() const { return bos_id_; }  // -1: none
  int32_t eos_id() const { return eos_id_; }
  std::string bos_token() const { return SpecialText(bos_id_); }
  std::string eos_token() const { return SpecialText(eos_id_); }

  // No token stands for more bytes of text, except where the model collapses spaces: a longer text
  // than n times this has more than n tokens.
  size_t max_token_bytes() const { return max_token_bytes_; }

  bool drops_first_space() const { return model_->drops_first_space(); }
  bool drops_leading_spaces() const { return model_->drops_leading_spaces(); }

 private:
  Tokenizer(std::unique_ptr<SentencePieceModel> model, const TokenizerConfig& config);

  std::string SpecialText(int32_t id) const;
  int32_t FindControl(std::string_view text) const;
  absl::Status AppendText(std::string_view text, bool follows_special,
                          std::vector<int32_t>* ids) const;

  std::unique_ptr<SentencePieceModel> model_;
  TokenizerConfig config_;
  int32_t bos_id_ = -1;
  int32_t eos_id_ = -1;
  size_t max_token_bytes_ = 1;
  std::vector<std::pair<std::string, int32_t>> controls_;  // longest text first
};

}  // namespace switchyard::tokenizer
