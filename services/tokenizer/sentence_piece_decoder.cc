#include "services/tokenizer/sentence_piece_decoder.h"

#include <string_view>
#include <utility>

#include "services/tokenizer/utf8.h"

namespace switchyard::tokenizer {
namespace {

constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";    // U+2581
constexpr std::string_view kUnknownText = " \xE2\x81\x87 ";  // U+2047 between spaces

void AppendWithSpaces(std::string_view piece, std::string* text) {
  while (!piece.empty()) {
    const size_t symbol = piece.find(kSpaceSymbol);
    text->append(piece.substr(0, symbol));
    if (symbol == std::string_view::npos) return;
    text->push_back(' ');
    piece.remove_prefix(symbol + kSpaceSymbol.size());
  }
}

}  // namespace

void SentencePieceDecoder::FlushBytes() {
  if (bytes_.empty()) return;
  AppendValidUtf8(bytes_, &held_);
  bytes_.clear();
  at_start_ = false;
}

void SentencePieceDecoder::AppendPiece(int32_t id) {
  const Piece* piece = model_.piece(id);
  if (piece == nullptr) return;
  if (piece->kind == PieceKind::kByte) {
    bytes_.push_back(static_cast<char>(piece->byte));
    return;
  }
  FlushBytes();
  if (piece->kind == PieceKind::kControl) {
    if (skip_special_) return;
    held_ += piece->text;
    at_start_ = false;
    return;
  }
  if (piece->kind == PieceKind::kUnknown) {
    held_ += kUnknownText;
    at_start_ = false;
    return;
  }
  std::string_view text = piece->text;
  if (at_start_ && model_.drops_first_space() && text.starts_with(kSpaceSymbol)) {
    text.remove_prefix(kSpaceSymbol.size());
    if (!model_.drops_leading_spaces()) at_start_ = false;
  }
  if (!text.empty()) at_start_ = false;
  AppendWithSpaces(text, &held_);
}

std::string SentencePieceDecoder::Append(int32_t id) {
  AppendPiece(id);
  if (EndsInReplacement(held_, bytes_)) return "";
  return Finish();
}

std::string SentencePieceDecoder::Finish() {
  FlushBytes();
  return std::exchange(held_, "");
}

}  // namespace switchyard::tokenizer
