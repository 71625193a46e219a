#include "gateway/sampling_fields.h"

#include <limits>

#include "absl/strings/str_cat.h"

namespace switchyard::gateway {
namespace {

constexpr size_t kMaxStops = 64;
constexpr size_t kMaxStopBytes = 4096;
constexpr size_t kMaxRequestId = 128;
constexpr int64_t kMaxTokens = 1 << 30;

// What the conventions define and this server does not do yet: only values that change nothing.
void RefuseUnsupported(FieldReader& reader) {
  reader.NumberMustBe("length_penalty", 1);
  for (const char* name : {"logits_processors", "guided_json", "guided_regex", "guided_choice",
                           "guided_grammar", "structured_outputs"}) {
    reader.MustBeEmpty(name);
  }
  if (reader.Bool("use_beam_search", false)) {
    reader.Fail("use_beam_search", "is not supported by this server");
  }
  if (const Json* format = reader.Object("response_format")) {
    if (format->value("type", Json()) != "text") {
      reader.Fail("response_format", "only the type text is supported by this server");
    }
  }
}

void ReadStops(FieldReader& reader, SamplingFields* fields) {
  const Json* stop = reader.Value("stop");
  if (stop == nullptr) return;
  const Json list = stop->is_string() ? Json::array({*stop}) : *stop;
  if (!list.is_array() || list.size() > kMaxStops) {
    reader.Fail("stop", absl::StrCat("must be a string or an array of at most ", kMaxStops));
    return;
  }
  for (const Json& entry : list) {
    if (!entry.is_string() || entry.get_ref<const std::string&>().empty() ||
        entry.get_ref<const std::string&>().size() > kMaxStopBytes) {
      reader.Fail("stop", absl::StrCat("each must be a string of 1 to ", kMaxStopBytes, " bytes"));
      return;
    }
    fields->stop.push_back(entry.get<std::string>());
  }
}

void ReadStreaming(FieldReader& reader, SamplingFields* fields) {
  fields->stream = reader.Bool("stream", false);
  const Json* options = reader.Object("stream_options");
  if (options == nullptr) return;
  if (!fields->stream) reader.Fail("stream_options", "needs stream to be true");
  FieldReader option_reader(*options);
  fields->include_usage = option_reader.Bool("include_usage", false);
  if (option_reader.error()) reader.Fail("stream_options", option_reader.error()->message);
}

void ReadIdentity(FieldReader& reader, const ServerLimits& limits, SamplingFields* fields) {
  const auto model = reader.String("model");
  if (model && *model != limits.model) {
    reader.Fail({.status = 404,
                 .message = "this server does not serve the model asked for; GET /v1/models lists "
                            "what it serves",
                 .param = "model",
                 .code = "model_not_found"});
  }
  reader.String("user");
  reader.Ignore("priority");
  const auto request_id = reader.String("request_id");
  if (!request_id) return;
  if (!IsPlainId(*request_id)) {
    reader.Fail("request_id", absl::StrCat("must be 1 to ", kMaxRequestId,
                                           " letters, digits or the signs - _ . :"));
  }
  fields->request_id = *request_id;
}

}  // namespace

bool IsPlainId(std::string_view id) {
  if (id.empty() || id.size() > kMaxRequestId) return false;
  for (char c : id) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool sign = c == '-' || c == '_' || c == '.' || c == ':';
    if (!letter && !sign && !(c >= '0' && c <= '9')) return false;
  }
  return true;
}

SamplingFields ReadSamplingFields(FieldReader& reader, const ServerLimits& limits) {
  SamplingFields fields;
  ReadIdentity(reader, limits, &fields);
  const SamplingDefaults& defaults = limits.defaults;
  fields.temperature = reader.Number("temperature", 0, 100).value_or(defaults.temperature);
  const double top_p = reader.Number("top_p", 0, 1).value_or(defaults.top_p);
  if (top_p == 0) reader.Fail("top_p", "must be above 0");
  fields.top_p = top_p;
  fields.top_k = std::max<int64_t>(
      0, reader.Integer("top_k", -1, std::numeric_limits<int32_t>::max()).value_or(defaults.top_k));
  fields.min_p = reader.Number("min_p", 0, 1).value_or(defaults.min_p);
  fields.logits =
      ReadLogitFields(reader, limits.vocabulary, limits.tokenizer, defaults.repetition_penalty);
  fields.seed = reader.Integer("seed", INT64_MIN, INT64_MAX);
  fields.n = reader.Integer("n", 1, kMaxChoices).value_or(1);
  fields.min_tokens = reader.Integer("min_tokens", 0, kMaxTokens).value_or(0);
  ReadStops(reader, &fields);
  fields.include_stop = reader.Bool("include_stop_str_in_output", false);
  fields.stop_token_ids = reader.TokenIds("stop_token_ids", limits.vocabulary);
  fields.ignore_eos = reader.Bool("ignore_eos", false);
  fields.skip_special = reader.Bool("skip_special_tokens", true);
  fields.prompt_logprobs = reader.Integer("prompt_logprobs", 0, kMaxLogprobs).value_or(-1);
  fields.return_token_ids = reader.Bool("return_token_ids", false);
  if (const auto kept = reader.Integer("truncate_prompt_tokens", 1, kMaxTokens)) {
    fields.truncate_prompt_tokens = *kept;
  }
  ReadStreaming(reader, &fields);
  RefuseUnsupported(reader);
  return fields;
}

std::optional<uint32_t> ReadTokenLimit(FieldReader& reader, const std::string& name) {
  const auto limit = reader.Integer(name, 0, kMaxTokens);
  if (!limit) return std::nullopt;
  return static_cast<uint32_t>(*limit);
}

}  // namespace switchyard::gateway
