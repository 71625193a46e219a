#include "services/tokenizer/fast_tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/tokenizer/fast_decoder.h"
#include "services/tokenizer/model_files.h"
#include "services/tokenizer/text_engine/token_engine.h"
#include "services/tokenizer/utf8.h"

namespace switchyard::tokenizer {
namespace {

constexpr char kTokenizerFile[] = "tokenizer.json";

std::string TakeText(text_engine_text text) {
  std::string result = text.data == nullptr ? "" : std::string(text.data, text.size);
  text_engine_free_text(text);
  return result;
}

FastPiece::Kind KindOf(token_engine_piece_kind kind) {
  switch (kind) {
    case TOKEN_ENGINE_TEXT:
      return FastPiece::Kind::kText;
    case TOKEN_ENGINE_BYTE:
      return FastPiece::Kind::kByte;
    case TOKEN_ENGINE_SPECIAL:
      return FastPiece::Kind::kSpecial;
    case TOKEN_ENGINE_NONE:
      break;
  }
  return FastPiece::Kind::kNone;
}

}  // namespace

void FastTokenizer::Free::operator()(token_engine* engine) const { token_engine_free(engine); }

absl::StatusOr<std::unique_ptr<Tokenizer>> FastTokenizer::Open(const std::string& folder) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadModelFile(folder, kTokenizerFile));
  nlohmann::json config = nlohmann::json::object();
  auto read = ReadTokenizerConfig(folder);
  if (read.ok()) {
    config = *std::move(read);
  } else if (!absl::IsNotFound(read.status())) {
    return read.status();
  }
  const std::string config_bytes = config.dump();
  token_engine* opened = nullptr;
  text_engine_text error{};
  if (token_engine_open(bytes.data(), bytes.size(), config_bytes.data(), config_bytes.size(),
                        &opened, &error) != TEXT_ENGINE_OK) {
    return absl::InvalidArgumentError(
        absl::StrCat(kTokenizerFile, " cannot be used: ", TakeText(error)));
  }
  std::unique_ptr<FastTokenizer> tokenizer(new FastTokenizer());
  tokenizer->engine_.reset(opened);
  tokenizer->ReadPieces();
  tokenizer->bos_id_ = tokenizer->Find(SpecialTokenText(config, "bos_token"));
  tokenizer->eos_id_ = tokenizer->Find(SpecialTokenText(config, "eos_token"));
  return tokenizer;
}

void FastTokenizer::ReadPieces() {
  byte_level_ = token_engine_is_byte_level(engine_.get());
  pieces_.resize(token_engine_vocabulary(engine_.get()));
  for (size_t id = 0; id < pieces_.size(); ++id) {
    text_engine_text bytes{};
    pieces_[id].kind = KindOf(token_engine_piece(engine_.get(), static_cast<int32_t>(id), &bytes));
    pieces_[id].bytes = TakeText(bytes);
    max_token_bytes_ = std::max(max_token_bytes_, pieces_[id].bytes.size());
  }
}

int32_t FastTokenizer::Find(const std::string& name) const {
  return name.empty() ? -1 : token_engine_find(engine_.get(), name.data(), name.size());
}

absl::StatusOr<std::vector<int32_t>> FastTokenizer::Encode(std::string_view text,
                                                           bool add_special) const {
  std::string repaired;
  if (!IsValidUtf8(text)) {
    AppendValidUtf8(text, &repaired);
    text = repaired;
  }
  token_engine_ids ids{};
  text_engine_text error{};
  if (token_engine_encode(engine_.get(), text.data(), text.size(), add_special, &ids, &error) !=
      TEXT_ENGINE_OK) {
    return absl::InvalidArgumentError(
        absl::StrCat("the tokenizer cannot encode the text: ", TakeText(error)));
  }
  std::vector<int32_t> result(ids.data, ids.data + ids.size);
  token_engine_free_ids(ids);
  return result;
}

std::string FastTokenizer::Decode(const std::vector<int32_t>& ids, bool skip_special,
                                  bool continues) const {
  text_engine_text text{};
  const auto status =
      token_engine_decode(engine_.get(), ids.data(), ids.size(), skip_special, continues, &text);
  std::string decoded = TakeText(text);
  return status == TEXT_ENGINE_OK ? decoded : "";
}

std::string FastTokenizer::Decode(const std::vector<int32_t>& ids, bool skip_special) const {
  return Decode(ids, skip_special, /*continues=*/false);
}

std::string FastTokenizer::DecodeInside(const std::vector<int32_t>& ids, bool skip_special) const {
  return Decode(ids, skip_special, /*continues=*/true);
}

std::unique_ptr<IncrementalDecoder> FastTokenizer::NewDecoder(bool skip_special) const {
  return std::make_unique<FastDecoder>(*this, skip_special);
}

std::string FastTokenizer::TokenBytes(int32_t id) const {
  const FastPiece* token = piece(id);
  return token == nullptr ? "" : token->bytes;
}

}  // namespace switchyard::tokenizer
