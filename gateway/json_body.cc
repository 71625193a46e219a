#include "gateway/json_body.h"

#include <vector>

namespace switchyard::gateway {
namespace {

constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxValues = 1'000'000;
// Json looks for a key among all those of its object: the work grows with the product of these.
constexpr size_t kMaxKeys = 64 << 10;
constexpr size_t kMaxObjectKeys = 1024;
constexpr size_t kLongestFieldName = 64;

// Walks over the text without keeping it, and ends at the first limit.
class LimitCheck : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return Count(); }
  bool boolean(bool) override { return Count(); }
  bool number_integer(number_integer_t) override { return Count(); }
  bool number_unsigned(number_unsigned_t) override { return Count(); }
  bool number_float(number_float_t, const string_t&) override { return Count(); }
  bool string(string_t&) override { return Count(); }
  bool binary(binary_t&) override { return Count(); }
  bool start_object(size_t) override { return Enter(); }
  bool end_object() override { return Leave(); }
  bool start_array(size_t) override { return Enter(); }
  bool end_array() override { return Leave(); }
  bool key(string_t& name) override {
    if (keys_of_level_.size() == 1) field_ = name.substr(0, kLongestFieldName);
    too_many_keys_ = ++keys_ > kMaxKeys || ++keys_of_level_.back() > kMaxObjectKeys;
    return !too_many_keys_;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

  ApiError Error() const {
    if (too_deep_) return InvalidField(field_, "the JSON is nested deeper than 64 levels");
    if (too_many_keys_) return InvalidField(field_, "the JSON has too many keys");
    if (values_ > kMaxValues) {
      return ApiError{.status = 400, .message = "the JSON has more than 1000000 values"};
    }
    const std::string problem = "the body is not valid JSON in UTF-8";
    if (field_.empty()) return ApiError{.status = 400, .message = problem};
    return InvalidField(field_, problem + " here");
  }

 private:
  bool Count() { return ++values_ <= kMaxValues; }
  bool Enter() {
    keys_of_level_.push_back(0);
    too_deep_ = keys_of_level_.size() > kMaxDepth;
    return !too_deep_ && Count();
  }
  bool Leave() {
    keys_of_level_.pop_back();
    return true;
  }

  std::vector<size_t> keys_of_level_;  // one entry for each object or array around this place
  size_t keys_ = 0;
  size_t values_ = 0;
  bool too_deep_ = false;
  bool too_many_keys_ = false;
  std::string field_;  // the last one of the outermost object
};

}  // namespace

std::optional<ApiError> CheckJsonLimits(const std::string& text) {
  LimitCheck check;
  if (!Json::sax_parse(text, &check)) return check.Error();
  return std::nullopt;
}

std::optional<ApiError> ParseJsonBody(const std::string& body, Json* json) {
  if (auto error = CheckJsonLimits(body)) return error;
  *json = Json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!json->is_object()) {
    return ApiError{.status = 400, .message = "the body must be a JSON object"};
  }
  return std::nullopt;
}

}  // namespace switchyard::gateway
