#include "gateway/logit_fields.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/model/generation_config.h"

namespace switchyard::gateway {
namespace {

constexpr double kLargestRepetitionPenalty = 100;
constexpr double kLargestPenalty = 2;  // as OpenAI has it
constexpr double kLargestBias = 100;
constexpr size_t kMaxBadWords = 256;
constexpr size_t kMaxBadWordBytes = 256;

std::optional<std::pair<int32_t, float>> ReadBias(const std::string& key, const Json& value,
                                                  int32_t vocabulary) {
  int32_t token = 0;
  // One way to write an id, so that none can stand twice.
  const bool is_id = absl::SimpleAtoi(key, &token) && absl::StrCat(token) == key;
  if (!is_id || token < 0 || token >= vocabulary) return std::nullopt;
  if (!value.is_number() || !(std::abs(value.get<double>()) <= kLargestBias)) return std::nullopt;
  return std::pair(token, value.get<float>());
}

void ReadLogitBias(FieldReader& reader, int32_t vocabulary, LogitFields* fields) {
  const Json* object = reader.Object("logit_bias");
  if (object == nullptr) return;
  for (const auto& [key, value] : object->items()) {
    const auto bias = ReadBias(key, value, vocabulary);
    if (!bias) {
      reader.Fail("logit_bias",
                  absl::StrCat("must map token ids between 0 and ", vocabulary - 1,
                               " to numbers between -", kLargestBias, " and ", kLargestBias));
      return;
    }
    fields->bias.push_back(*bias);
  }
}

void ReadAllowed(FieldReader& reader, int32_t vocabulary, LogitFields* fields) {
  fields->allowed_token_ids = reader.TokenIds("allowed_token_ids", vocabulary);
  if (reader.Value("allowed_token_ids") != nullptr && fields->allowed_token_ids.empty()) {
    reader.Fail("allowed_token_ids", "must hold at least one token id");
  }
  // Each choice has a copy of its own.
  std::vector<int32_t>& ids = fields->allowed_token_ids;
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

// A word at the beginning of a text, and inside of one, where that has tokens of its own.
bool AppendBadWord(const tokenizer::Tokenizer& tokenizer, std::string_view word,
                   std::vector<std::vector<int32_t>>* sequences) {
  word.remove_prefix(std::min(word.find_first_not_of(" \t\n\r\f\v"), word.size()));
  auto alone = tokenizer.Encode(word, /*add_special=*/false);
  auto inside = tokenizer.Encode(absl::StrCat(" ", std::string(word)), /*add_special=*/false);
  if (!alone.ok() || !inside.ok() || alone->empty() || inside->empty()) return false;
  const bool differs = inside->front() != alone->front() && inside->size() == alone->size();
  sequences->push_back(*std::move(alone));
  if (differs) sequences->push_back(*std::move(inside));
  return true;
}

void ReadBadWords(FieldReader& reader, const tokenizer::Tokenizer* tokenizer, LogitFields* fields) {
  const Json* words = reader.Array("bad_words");
  if (words == nullptr || words->empty()) return;
  if (tokenizer == nullptr) {
    reader.Fail("bad_words", "the model has no tokenizer");
    return;
  }
  if (words->size() > kMaxBadWords) {
    reader.Fail("bad_words", absl::StrCat("must hold at most ", kMaxBadWords, " words"));
    return;
  }
  for (const Json& word : *words) {
    if (!word.is_string() || word.get_ref<const std::string&>().size() > kMaxBadWordBytes ||
        !AppendBadWord(*tokenizer, word.get_ref<const std::string&>(), &fields->bad_words)) {
      reader.Fail("bad_words", absl::StrCat("each must be a string of 1 to ", kMaxBadWordBytes,
                                            " bytes with at least one token besides spaces"));
      return;
    }
  }
}

}  // namespace

LogitFields ReadLogitFields(FieldReader& reader, int32_t vocabulary,
                            const tokenizer::Tokenizer* tokenizer, float repetition_penalty) {
  LogitFields fields;
  fields.repetition_penalty =
      reader.Number("repetition_penalty", model::kLeastRepetitionPenalty, kLargestRepetitionPenalty)
          .value_or(repetition_penalty);
  const auto penalty = [&reader](const char* name) -> float {
    return reader.Number(name, -kLargestPenalty, kLargestPenalty).value_or(0);
  };
  fields.presence_penalty = penalty("presence_penalty");
  fields.frequency_penalty = penalty("frequency_penalty");
  ReadLogitBias(reader, vocabulary, &fields);
  ReadAllowed(reader, vocabulary, &fields);
  ReadBadWords(reader, tokenizer, &fields);
  return fields;
}

void SetLogitFields(const LogitFields& fields, v1::Sampling* sampling) {
  sampling->set_repetition_penalty(fields.repetition_penalty);
  sampling->set_presence_penalty(fields.presence_penalty);
  sampling->set_frequency_penalty(fields.frequency_penalty);
  for (const auto& [token, bias] : fields.bias) {
    v1::LogitBias* const entry = sampling->add_logit_bias();
    entry->set_token(token);
    entry->set_bias(bias);
  }
  sampling->mutable_allowed_token_ids()->Assign(fields.allowed_token_ids.begin(),
                                                fields.allowed_token_ids.end());
  for (const std::vector<int32_t>& word : fields.bad_words) {
    sampling->add_bad_words()->mutable_ids()->Assign(word.begin(), word.end());
  }
}

}  // namespace switchyard::gateway
