#include "services/tokenizer/sentence_piece_model.h"

#include <sentencepiece_processor.h>

#include <cstdlib>

namespace switchyard::tokenizer {
namespace {

constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";  // U+2581

Piece ReadPiece(const sentencepiece::SentencePieceProcessor& processor, int id) {
  Piece piece{.text = processor.IdToPiece(id)};
  if (processor.IsControl(id)) {
    piece.kind = PieceKind::kControl;
  } else if (processor.IsUnknown(id)) {
    piece.kind = PieceKind::kUnknown;
  } else if (processor.IsByte(id)) {
    piece.kind = PieceKind::kByte;
    // "<0xAB>"; the library has checked the form.
    piece.byte = static_cast<uint8_t>(std::strtoul(piece.text.c_str() + 1, nullptr, 16));
  }
  return piece;
}

// One space and then something else.
bool IsWord(const Piece& piece) {
  const std::string_view text = piece.text;
  return piece.kind == PieceKind::kText && text.size() > kSpaceSymbol.size() &&
         text.starts_with(kSpaceSymbol) && text.rfind(kSpaceSymbol) == 0;
}

}  // namespace

SentencePieceModel::SentencePieceModel()
    : processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()) {}

SentencePieceModel::~SentencePieceModel() = default;

std::unique_ptr<SentencePieceModel> SentencePieceModel::Load(std::string_view serialized,
                                                             std::string* error) {
  std::unique_ptr<SentencePieceModel> model(new SentencePieceModel());
  const auto& processor = *model->processor_;
  const auto status = model->processor_->LoadFromSerializedProto(serialized);
  if (!status.ok()) {
    *error = status.ToString();
    return nullptr;
  }
  model->bos_id_ = processor.bos_id();
  model->eos_id_ = processor.eos_id();
  const int size = processor.GetPieceSize();
  model->pieces_.reserve(size);
  int word = -1;  // a piece such as "▁the"
  for (int id = 0; id < size; ++id) {
    model->pieces_.push_back(ReadPiece(processor, id));
    if (word < 0 && IsWord(model->pieces_.back())) word = id;
  }
  // The library does not tell the settings of its normaliser, so watch what they do.
  if (word >= 0) {
    std::string text;
    model->drops_first_space_ =
        processor.Decode(std::vector<int>{word}, &text).ok() && !text.starts_with(' ');
  }
  std::vector<int32_t> ids;
  model->drops_leading_spaces_ = model->Encode("  ", &ids) && ids.empty();
  return model;
}

bool SentencePieceModel::Encode(std::string_view text, std::vector<int32_t>* ids) const {
  return processor_->Encode(text, ids).ok();
}

}  // namespace switchyard::tokenizer
