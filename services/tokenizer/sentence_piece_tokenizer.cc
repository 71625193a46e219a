#include "services/tokenizer/sentence_piece_tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/status.h"
#include "services/base/status_macros.h"
#include "services/tokenizer/model_files.h"
#include "services/tokenizer/sentence_piece_decoder.h"

namespace switchyard::tokenizer {
namespace {

constexpr char kModelFile[] = "tokenizer.model";

bool BoolOr(const nlohmann::json& config, const char* key, bool otherwise) {
  const auto found = config.find(key);
  return found != config.end() && found->is_boolean() ? found->get<bool>() : otherwise;
}

absl::StatusOr<SentencePieceConfig> ReadConfig(const std::string& folder) {
  SentencePieceConfig config;
  auto json = ReadTokenizerConfig(folder);
  if (absl::IsNotFound(json.status())) return config;
  RETURN_IF_ERROR(json.status());
  config.add_bos = BoolOr(*json, "add_bos_token", config.add_bos);
  config.add_eos = BoolOr(*json, "add_eos_token", config.add_eos);
  config.legacy = BoolOr(*json, "legacy", config.legacy);
  config.bos_token = SpecialTokenText(*json, "bos_token");
  config.eos_token = SpecialTokenText(*json, "eos_token");
  return config;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> SentencePieceTokenizer::Open(const std::string& folder) {
  ASSIGN_OR_RETURN(const std::string serialized, ReadModelFile(folder, kModelFile));
  std::string error;
  auto model = SentencePieceModel::Load(serialized, &error);
  if (model == nullptr) {
    return absl::InvalidArgumentError(std::string(kModelFile) +
                                      " is not a SentencePiece model: " + error);
  }
  ASSIGN_OR_RETURN(const SentencePieceConfig config, ReadConfig(folder));
  return std::unique_ptr<Tokenizer>(new SentencePieceTokenizer(std::move(model), config));
}

SentencePieceTokenizer::SentencePieceTokenizer(std::unique_ptr<SentencePieceModel> model,
                                               const SentencePieceConfig& config)
    : model_(std::move(model)), config_(config) {
  for (int32_t id = 0; id < vocabulary(); ++id) {
    const Piece& piece = model_->pieces()[id];
    max_token_bytes_ = std::max(max_token_bytes_, piece.text.size());
    if (piece.kind == PieceKind::kControl && !piece.text.empty()) {
      controls_.emplace_back(piece.text, id);
    }
  }
  std::stable_sort(controls_.begin(), controls_.end(),
                   [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
  bos_id_ = config.bos_token.empty() ? model_->bos_id() : FindControl(config.bos_token);
  eos_id_ = config.eos_token.empty() ? model_->eos_id() : FindControl(config.eos_token);
}

int32_t SentencePieceTokenizer::FindControl(std::string_view text) const {
  for (const auto& [name, id] : controls_) {
    if (name == text) return id;
  }
  return -1;
}

// Adds the ids of text between special tokens. With config_.legacy false text after a special token
// gets no space in front: it is encoded behind a line feed, whose ids are then taken off.
absl::Status SentencePieceTokenizer::AppendText(std::string_view text, bool follows_special,
                                                std::vector<int32_t>* ids) const {
  if (text.empty()) return absl::OkStatus();
  std::vector<int32_t> part;
  if (!follows_special || config_.legacy) {
    if (!model_->Encode(text, &part)) return absl::InternalError("the tokenizer failed");
    ids->insert(ids->end(), part.begin(), part.end());
    return absl::OkStatus();
  }
  std::vector<int32_t> marker;
  const std::string marked = "\n" + std::string(text);
  if (!model_->Encode("\n", &marker) || !model_->Encode(marked, &part)) {
    return absl::InternalError("the tokenizer failed");
  }
  const bool marker_apart =
      part.size() >= marker.size() && std::equal(marker.begin(), marker.end(), part.begin());
  if (!marker_apart) return absl::InternalError("the tokenizer merges over a line feed");
  ids->insert(ids->end(), part.begin() + marker.size(), part.end());
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> SentencePieceTokenizer::Encode(std::string_view text,
                                                                    bool add_special) const {
  std::vector<int32_t> ids;
  if (add_special && config_.add_bos && bos_id_ >= 0) ids.push_back(bos_id_);
  RETURN_IF_ERROR(AppendText(text, /*follows_special=*/false, &ids));
  if (add_special && config_.add_eos && eos_id_ >= 0) ids.push_back(eos_id_);
  return ids;
}

absl::StatusOr<std::vector<int32_t>> SentencePieceTokenizer::EncodeRendered(
    std::string_view text) const {
  std::vector<int32_t> ids;
  size_t plain_start = 0;
  bool follows_special = false;
  for (size_t at = 0; at < text.size();) {
    const std::string_view rest = text.substr(at);
    const auto control =
        std::find_if(controls_.begin(), controls_.end(),
                     [rest](const auto& candidate) { return rest.starts_with(candidate.first); });
    if (control == controls_.end()) {
      ++at;
      continue;
    }
    RETURN_IF_ERROR(AppendText(text.substr(plain_start, at - plain_start), follows_special, &ids));
    ids.push_back(control->second);
    follows_special = true;
    at += control->first.size();
    plain_start = at;
  }
  RETURN_IF_ERROR(AppendText(text.substr(plain_start), follows_special, &ids));
  return ids;
}

std::string SentencePieceTokenizer::Decode(const std::vector<int32_t>& ids,
                                           bool skip_special) const {
  SentencePieceDecoder decoder(*model_, skip_special);
  std::string text;
  for (int32_t id : ids) text += decoder.Append(id);
  return text + decoder.Finish();
}

std::unique_ptr<IncrementalDecoder> SentencePieceTokenizer::NewDecoder(bool skip_special) const {
  return std::make_unique<SentencePieceDecoder>(*model_, skip_special);
}

std::string SentencePieceTokenizer::TokenBytes(int32_t id) const {
  const Piece* token = model_->piece(id);
  if (token == nullptr) return "";
  if (token->kind == PieceKind::kByte) return std::string(1, static_cast<char>(token->byte));
  SentencePieceDecoder decoder(*model_, /*skip_special=*/false);
  decoder.ContinueText();
  return decoder.Append(id) + decoder.Finish();
}

}  // namespace switchyard::tokenizer
