#include "services/tokenizer/tokenizer.h"

#include "absl/status/status.h"
#include "services/base/status_macros.h"
#include "services/tokenizer/fast_tokenizer.h"
#include "services/tokenizer/sentence_piece_tokenizer.h"

namespace switchyard::tokenizer {

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Open(const std::string& folder) {
  auto fast = FastTokenizer::Open(folder);
  if (!absl::IsNotFound(fast.status())) return fast;
  auto sentence_piece = SentencePieceTokenizer::Open(folder);
  if (!absl::IsNotFound(sentence_piece.status())) return sentence_piece;
  return absl::NotFoundError("neither tokenizer.json nor tokenizer.model is there");
}

}  // namespace switchyard::tokenizer
