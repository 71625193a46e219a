#pragma once

// tokenizer.model: a SentencePiece model (BPE or unigram), used as transformers' slow tokenizers
// do.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "services/tokenizer/sentence_piece_model.h"
#include "services/tokenizer/tokenizer.h"

namespace switchyard::tokenizer {

// What tokenizer_config.json says; each field has its default where the file or the key is missing.
struct SentencePieceConfig {
  bool add_bos = true;
  bool add_eos = false;
  // A space in front of text that follows a special token.
  bool legacy = true;
  std::string bos_token;  // empty: the model's own
  std::string eos_token;
};

class SentencePieceTokenizer : public Tokenizer {
 public:
  // As Tokenizer::Open. NOT_FOUND when the folder holds no tokenizer.model.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& folder);

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              bool add_special) const override;
  absl::StatusOr<std::vector<int32_t>> EncodeRendered(std::string_view text) const override;
  std::string Decode(const std::vector<int32_t>& ids, bool skip_special) const override;
  std::unique_ptr<IncrementalDecoder> NewDecoder(bool skip_special) const override;
  std::string TokenBytes(int32_t id) const override;
  bool HasToken(int32_t id) const override { return model_->piece(id) != nullptr; }
  int32_t vocabulary() const override { return static_cast<int32_t>(model_->pieces().size()); }
  int32_t bos_id() const override { return bos_id_; }
  int32_t eos_id() const override { return eos_id_; }
  size_t max_token_bytes() const override { return max_token_bytes_; }

 private:
  SentencePieceTokenizer(std::unique_ptr<SentencePieceModel> model,
                         const SentencePieceConfig& config);

  int32_t FindControl(std::string_view text) const;
  absl::Status AppendText(std::string_view text, bool follows_special,
                          std::vector<int32_t>* ids) const;

  std::unique_ptr<SentencePieceModel> model_;
  SentencePieceConfig config_;
  int32_t bos_id_ = -1;
  int32_t eos_id_ = -1;
  size_t max_token_bytes_ = 1;
  std::vector<std::pair<std::string, int32_t>> controls_;  // longest text first
};

}  // namespace switchyard::tokenizer
