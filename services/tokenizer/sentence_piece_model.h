#pragma once

// The SentencePiece library behind an interface of our own. Its header and abseil's string_view
// cannot stand in one translation unit, so only sentence_piece_model.cc includes it and abseil
// stays out of both files.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace switchyard::tokenizer {

enum class PieceKind {
  kText,     // normal and user-defined pieces
  kByte,     // "<0x41>": one byte of a character that has no piece
  kControl,  // never made from plain text: <s>, </s>
  kUnknown,
};

struct Piece {
  std::string text;  // U+2581 stands for a space
  PieceKind kind = PieceKind::kText;
  uint8_t byte = 0;  // for kByte
};

// Immutable after loading; safe to use from many threads.
class SentencePieceModel {
 public:
  // Null, with a reason in *error, when the bytes are no valid model.
  static std::unique_ptr<SentencePieceModel> Load(std::string_view serialized, std::string* error);
  ~SentencePieceModel();

  // Ids of plain text; control pieces spelled out in it are plain text too. False on a failure of
  // the library.
  bool Encode(std::string_view text, std::vector<int32_t>* ids) const;

  const std::vector<Piece>& pieces() const { return pieces_; }
  // Null outside the vocabulary.
  const Piece* piece(int32_t id) const {
    return id < 0 || static_cast<size_t>(id) >= pieces_.size() ? nullptr : &pieces_[id];
  }
  // -1 where the model has none.
  int32_t bos_id() const { return bos_id_; }
  int32_t eos_id() const { return eos_id_; }

  // Whether decoding drops one space at the start of the text, the one that encoding put there.
  bool drops_first_space() const { return drops_first_space_; }
  // Whether it drops every space there, because encoding collapses them.
  bool drops_leading_spaces() const { return drops_leading_spaces_; }

 private:
  SentencePieceModel();

  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
  std::vector<Piece> pieces_;
  int32_t bos_id_ = -1;
  int32_t eos_id_ = -1;
  bool drops_first_space_ = false;
  bool drops_leading_spaces_ = false;
};

}  // namespace switchyard::tokenizer
