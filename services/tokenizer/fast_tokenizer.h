#pragma once

// tokenizer.json: the pipeline of Hugging Face's fast tokenizers, run by their own library
// (text_engine/token_engine.h), with the tokens that tokenizer_config.json adds.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "services/tokenizer/tokenizer.h"

struct token_engine;

namespace switchyard::tokenizer {

// What a token prints when it does not begin the text.
struct FastPiece {
  enum class Kind : uint8_t { kNone, kText, kByte, kSpecial };

  std::string bytes;
  Kind kind = Kind::kNone;
};

class FastTokenizer : public Tokenizer {
 public:
  // As Tokenizer::Open. NOT_FOUND when the folder holds no tokenizer.json.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& folder);

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              bool add_special) const override;
  absl::StatusOr<std::vector<int32_t>> EncodeRendered(std::string_view text) const override {
    return Encode(text, /*add_special=*/false);
  }
  std::string Decode(const std::vector<int32_t>& ids, bool skip_special) const override;
  std::unique_ptr<IncrementalDecoder> NewDecoder(bool skip_special) const override;
  std::string TokenBytes(int32_t id) const override;
  bool HasToken(int32_t id) const override { return piece(id) != nullptr; }
  int32_t vocabulary() const override { return static_cast<int32_t>(pieces_.size()); }
  int32_t bos_id() const override { return bos_id_; }
  int32_t eos_id() const override { return eos_id_; }
  size_t max_token_bytes() const override { return max_token_bytes_; }

  // Null where the id stands for nothing.
  const FastPiece* piece(int32_t id) const {
    if (id < 0 || static_cast<size_t>(id) >= pieces_.size()) return nullptr;
    return pieces_[id].kind == FastPiece::Kind::kNone ? nullptr : &pieces_[id];
  }

  // What the ids add to a text that they do not begin.
  std::string DecodeInside(const std::vector<int32_t>& ids, bool skip_special) const;

  // Every token is bytes, which may be parts of characters.
  bool byte_level() const { return byte_level_; }

 private:
  struct Free {
    void operator()(token_engine* engine) const;
  };

  FastTokenizer() = default;
  void ReadPieces();
  int32_t Find(const std::string& name) const;
  std::string Decode(const std::vector<int32_t>& ids, bool skip_special, bool continues) const;

  std::unique_ptr<token_engine, Free> engine_;
  std::vector<FastPiece> pieces_;
  bool byte_level_ = false;
  int32_t bos_id_ = -1;
  int32_t eos_id_ = -1;
  size_t max_token_bytes_ = 1;
};

}  // namespace switchyard::tokenizer
