#include "services/model/json_fields.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/json.h"
#include "services/base/status_macros.h"

namespace switchyard::model {
namespace {

constexpr size_t kMaxListLength = 1024;

// A value as it stands in an error: short, however long it is.
std::string Shown(const nlohmann::json& value) {
  using Handler = nlohmann::json::error_handler_t;
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  std::string text = value.dump(-1, ' ', true, Handler::replace);
  if (text.size() > 40) text = text.substr(0, 40) + "...";
  return text;
}

}  // namespace

JsonFields::JsonFields(nlohmann::json object, std::string file, std::string prefix)
    : object_(std::move(object)), file_(std::move(file)), prefix_(std::move(prefix)) {}

absl::StatusOr<JsonFields> JsonFields::Parse(const std::string& text, std::string file) {
  ASSIGN_OR_RETURN(nlohmann::json value, ParseJson(text, JsonLimits{}, file));
  if (!value.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": must be a JSON object"));
  }
  return JsonFields(std::move(value), std::move(file), "");
}

const nlohmann::json* JsonFields::Find(const std::string& key) const {
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

bool JsonFields::Has(const std::string& key) const { return Find(key) != nullptr; }

bool JsonFields::IsNull(const std::string& key) const { return object_.contains(key) && !Has(key); }

std::string JsonFields::Place(const std::string& key) const {
  return absl::StrCat(file_, ": ", prefix_, key);
}

absl::Status JsonFields::Error(const std::string& key, const std::string& text) const {
  return absl::InvalidArgumentError(absl::StrCat(Place(key), " ", text));
}

absl::Status JsonFields::Unsupported(const std::string& key, const std::string& text) const {
  return absl::UnimplementedError(absl::StrCat(Place(key), " ", text));
}

absl::StatusOr<int64_t> JsonFields::IntegerIn(const nlohmann::json& value, const std::string& key,
                                              int64_t low, int64_t high) const {
  const bool fits = value.is_number_integer() &&
                    !(value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX);
  if (!fits || value.get<int64_t>() < low || value.get<int64_t>() > high) {
    return Error(
        key, absl::StrCat("is ", Shown(value), "; must be an integer from ", low, " to ", high));
  }
  return value.get<int64_t>();
}

absl::StatusOr<int64_t> JsonFields::Integer(const std::string& key, int64_t low,
                                            int64_t high) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return Error(key, "is missing");
  return IntegerIn(*value, key, low, high);
}

absl::StatusOr<int64_t> JsonFields::Integer(const std::string& key, int64_t low, int64_t high,
                                            int64_t fallback) const {
  if (!Has(key)) return fallback;
  return Integer(key, low, high);
}

absl::StatusOr<double> JsonFields::NumberIn(const nlohmann::json& value, const std::string& key,
                                            double low, double high) const {
  if (!value.is_number() || !(value.get<double>() >= low && value.get<double>() <= high)) {
    return Error(key,
                 absl::StrCat("is ", Shown(value), "; must be a number from ", low, " to ", high));
  }
  return value.get<double>();
}

absl::StatusOr<double> JsonFields::Number(const std::string& key, double low, double high) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return Error(key, "is missing");
  return NumberIn(*value, key, low, high);
}

absl::StatusOr<double> JsonFields::Number(const std::string& key, double low, double high,
                                          double fallback) const {
  if (!Has(key)) return fallback;
  return Number(key, low, high);
}

absl::StatusOr<bool> JsonFields::Bool(const std::string& key, bool fallback) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) {
    return Error(key, absl::StrCat("is ", Shown(*value), "; must be true or false"));
  }
  return value->get<bool>();
}

absl::StatusOr<std::string> JsonFields::StringIn(const nlohmann::json& value,
                                                 const std::string& key) const {
  if (!value.is_string()) {
    return Error(key, absl::StrCat("is ", Shown(value), "; must be a string"));
  }
  return value.get<std::string>();
}

absl::StatusOr<std::string> JsonFields::String(const std::string& key) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return Error(key, "is missing");
  return StringIn(*value, key);
}

absl::StatusOr<std::string> JsonFields::String(const std::string& key,
                                               const std::string& fallback) const {
  if (!Has(key)) return fallback;
  return String(key);
}

absl::StatusOr<const nlohmann::json*> JsonFields::List(const std::string& key) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return Error(key, "is missing");
  if (!value->is_array()) return Error(key, absl::StrCat("is ", Shown(*value), "; must be a list"));
  if (value->size() > kMaxListLength) {
    return Error(key, absl::StrCat("has ", value->size(), " entries; at most ", kMaxListLength));
  }
  return value;
}

absl::StatusOr<std::vector<int64_t>> JsonFields::Integers(const std::string& key, int64_t low,
                                                          int64_t high) const {
  const nlohmann::json* value = Find(key);
  std::vector<int64_t> integers;
  if (value != nullptr && !value->is_array()) {
    ASSIGN_OR_RETURN(const int64_t integer, IntegerIn(*value, key, low, high));
    integers.push_back(integer);
    return integers;
  }
  ASSIGN_OR_RETURN(const nlohmann::json* list, List(key));
  for (const nlohmann::json& entry : *list) {
    ASSIGN_OR_RETURN(const int64_t integer, IntegerIn(entry, key, low, high));
    integers.push_back(integer);
  }
  return integers;
}

absl::StatusOr<std::vector<double>> JsonFields::Numbers(const std::string& key, double low,
                                                        double high) const {
  ASSIGN_OR_RETURN(const nlohmann::json* list, List(key));
  std::vector<double> numbers;
  for (const nlohmann::json& entry : *list) {
    ASSIGN_OR_RETURN(const double number, NumberIn(entry, key, low, high));
    numbers.push_back(number);
  }
  return numbers;
}

absl::StatusOr<std::vector<std::string>> JsonFields::Strings(const std::string& key) const {
  ASSIGN_OR_RETURN(const nlohmann::json* list, List(key));
  std::vector<std::string> strings;
  for (const nlohmann::json& entry : *list) {
    ASSIGN_OR_RETURN(std::string text, StringIn(entry, key));
    strings.push_back(std::move(text));
  }
  return strings;
}

absl::StatusOr<JsonFields> JsonFields::Object(const std::string& key) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return Error(key, "is missing");
  if (!value->is_object()) {
    return Error(key, absl::StrCat("is ", Shown(*value), "; must be an object"));
  }
  return JsonFields(*value, file_, prefix_ + key + ".");
}

}  // namespace switchyard::model
