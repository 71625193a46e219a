#include "services/tokenizer/fast_decoder.h"

#include <utility>

#include "services/tokenizer/utf8.h"

namespace switchyard::tokenizer {

std::string FastDecoder::AppendAtStart(int32_t id, const FastPiece& piece) {
  start_.push_back(id);
  if (piece.kind == FastPiece::Kind::kByte) return "";
  std::string text = tokenizer_.Decode(start_, skip_special_);
  if (text.empty() || text.ends_with(kReplacement)) return "";
  at_start_ = false;
  return text;
}

std::string FastDecoder::AppendBytes(const std::string& bytes) {
  bytes_ += bytes;
  return EndsInReplacement("", bytes_) ? "" : Finish();
}

void FastDecoder::FlushRun() {
  if (run_.empty()) return;
  held_ += tokenizer_.DecodeInside(run_, skip_special_);
  run_.clear();
}

std::string FastDecoder::Append(int32_t id) {
  const FastPiece* piece = tokenizer_.piece(id);
  if (piece == nullptr) return "";
  if (skip_special_ && piece->kind == FastPiece::Kind::kSpecial) return "";
  if (tokenizer_.byte_level()) return AppendBytes(piece->bytes);
  if (at_start_) return AppendAtStart(id, *piece);
  if (piece->kind == FastPiece::Kind::kByte) {
    run_.push_back(id);
    return "";
  }
  FlushRun();
  held_ += piece->bytes;
  return held_.ends_with(kReplacement) ? "" : std::exchange(held_, "");
}

std::string FastDecoder::Finish() {
  if (tokenizer_.byte_level()) {
    std::string text;
    AppendRepairedUtf8(std::exchange(bytes_, ""), &text);
    return text;
  }
  if (at_start_) return tokenizer_.Decode(std::exchange(start_, {}), skip_special_);
  FlushRun();
  return std::exchange(held_, "");
}

}  // namespace switchyard::tokenizer
