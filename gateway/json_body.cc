#include "gateway/json_body.h"

#include <utility>

namespace switchyard::gateway {
namespace {

constexpr int kMaxDepth = 64;
constexpr size_t kMaxValues = 1'000'000;
constexpr size_t kLongestFieldName = 64;

// Where the parser is. Past a limit it keeps nothing more.
struct Progress {
  bool too_deep = false;
  size_t values = 0;
  std::string field;  // the last one of the outermost object

  bool Keep(int depth, Json::parse_event_t event, const Json& parsed) {
    ++values;
    if (depth > kMaxDepth) too_deep = true;
    if (event == Json::parse_event_t::key && depth == 1) {
      field = parsed.get<std::string>().substr(0, kLongestFieldName);
    }
    return !too_deep && values <= kMaxValues;
  }
};

}  // namespace

std::optional<ApiError> ParseJsonBody(const std::string& body, Json* json) {
  Progress progress;
  *json = Json::parse(
      body,
      [&progress](int depth, Json::parse_event_t event, Json& parsed) {
        return progress.Keep(depth, event, parsed);
      },
      /*allow_exceptions=*/false);
  if (progress.too_deep) {
    return InvalidField(progress.field, "the JSON is nested deeper than 64 levels");
  }
  if (progress.values > kMaxValues) {
    return ApiError{.status = 400, .message = "the JSON has more than 1000000 values"};
  }
  if (json->is_discarded()) {
    ApiError error{.status = 400, .message = "the body is not valid JSON in UTF-8"};
    if (!progress.field.empty()) error = InvalidField(progress.field, error.message + " here");
    return error;
  }
  if (!json->is_object()) {
    return ApiError{.status = 400, .message = "the body must be a JSON object"};
  }
  return std::nullopt;
}

}  // namespace switchyard::gateway
