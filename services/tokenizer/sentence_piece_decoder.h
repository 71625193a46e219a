#pragma once

#include <string>

#include "services/tokenizer/incremental_decoder.h"
#include "services/tokenizer/sentence_piece_model.h"

namespace switchyard::tokenizer {

class SentencePieceDecoder : public IncrementalDecoder {
 public:
  // The model must outlive the decoder.
  SentencePieceDecoder(const SentencePieceModel& model, bool skip_special)
      : model_(model), skip_special_(skip_special) {}

  void ContinueText() override { at_start_ = false; }
  std::string Append(int32_t id) override;
  std::string Finish() override;

 private:
  void AppendPiece(int32_t id);
  void FlushBytes();

  const SentencePieceModel& model_;
  const bool skip_special_;
  bool at_start_ = true;  // no text yet: leading spaces may have to go
  std::string held_;      // decoded, not returned yet
  std::string bytes_;     // byte pieces after held_, not decoded yet
};

}  // namespace switchyard::tokenizer
