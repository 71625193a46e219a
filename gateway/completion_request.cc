#include "gateway/completion_request.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace switchyard::gateway {
namespace {

constexpr uint32_t kDefaultMaxTokens = 16;

void ReadPrompts(FieldReader& reader, int32_t vocabulary, std::vector<Prompt>* prompts) {
  const Json* prompt = reader.Value("prompt");
  if (prompt == nullptr) {
    reader.Fail("prompt", "is required");
    return;
  }
  const bool one = prompt->is_string() ||
                   (prompt->is_array() && !prompt->empty() && prompt->front().is_number());
  const Json list = one ? Json::array({*prompt}) : *prompt;
  if (!list.is_array() || list.empty()) {
    reader.Fail("prompt", "must be a string, an array of strings, of token ids or of such arrays");
    return;
  }
  for (const Json& entry : list) {
    if (entry.is_string()) {
      prompts->emplace_back(entry.get<std::string>());
      continue;
    }
    std::vector<int32_t> ids;
    if (auto error = ReadTokenIds("prompt", entry, vocabulary, &ids)) {
      reader.Fail(*std::move(error));
      return;
    }
    prompts->emplace_back(std::move(ids));
  }
}

}  // namespace

std::optional<ApiError> ParseCompletionRequest(const Json& json, const ServerLimits& limits,
                                               CompletionRequest* request) {
  FieldReader reader(json);
  request->sampling = ReadSamplingFields(reader, limits);
  request->sampling.max_tokens = ReadTokenLimit(reader, "max_tokens").value_or(kDefaultMaxTokens);
  ReadPrompts(reader, limits.vocabulary, &request->prompts);
  request->echo = reader.Bool("echo", false);
  request->logprobs = reader.Integer("logprobs", 0, kMaxLogprobs).value_or(-1);
  request->add_special_tokens = reader.Bool("add_special_tokens", true);
  reader.MustBeEmpty("suffix");
  const SamplingFields& sampling = request->sampling;
  if (const auto best_of = reader.Integer("best_of", 1, kMaxChoices);
      best_of && *best_of != sampling.n) {
    reader.Fail("best_of", "only the value of n is supported by this server");
  }
  if (request->prompts.size() * sampling.n > kMaxRequestChoices) {
    reader.Fail("prompt", absl::StrCat("prompts times n must be at most ", kMaxRequestChoices));
  }
  if (*sampling.max_tokens == 0 && !request->echo && sampling.prompt_logprobs < 0) {
    reader.Fail("max_tokens", "must be at least 1, unless echo or prompt_logprobs is asked for");
  }
  if (sampling.min_tokens > *sampling.max_tokens) {
    reader.Fail("min_tokens", "must not be above max_tokens");
  }
  request->unknown_fields = reader.Unknown();
  return reader.error();
}

}  // namespace switchyard::gateway
