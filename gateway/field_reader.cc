#include "gateway/field_reader.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"

namespace switchyard::gateway {
namespace {

// The value of an integer, which JSON may also write as 1.0 or 1e3; clamped to +-2^100.
std::optional<absl::int128> AsInteger(const Json& value) {
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const double number = value.get<double>();
  if (std::trunc(number) != number) return std::nullopt;
  return absl::int128(std::clamp(number, -0x1p100, 0x1p100));
}

}  // namespace

const Json* FieldReader::Value(const std::string& name) {
  known_.insert(name);
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool FieldReader::Bool(const std::string& name, bool otherwise) {
  const Json* value = Value(name);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) {
    Fail(name, "must be true or false");
    return otherwise;
  }
  return value->get<bool>();
}

std::optional<int64_t> FieldReader::Integer(const std::string& name, int64_t least, int64_t most) {
  const Json* value = Value(name);
  if (value == nullptr) return std::nullopt;
  const auto number = AsInteger(*value);
  if (!number) {
    Fail(name, "must be an integer");
  } else if (*number < least || *number > most) {
    Fail(name, absl::StrCat("must be between ", least, " and ", most));
  } else {
    return static_cast<int64_t>(*number);
  }
  return std::nullopt;
}

std::optional<double> FieldReader::Number(const std::string& name, double least, double most) {
  const Json* value = Value(name);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  if (!(number >= least && number <= most)) {
    Fail(name, absl::StrCat("must be a number between ", least, " and ", most));
    return std::nullopt;
  }
  return number;
}

std::optional<std::string> FieldReader::String(const std::string& name) {
  const Json* value = Value(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) {
    Fail(name, "must be a string");
    return std::nullopt;
  }
  return value->get<std::string>();
}

std::vector<int32_t> FieldReader::TokenIds(const std::string& name, int32_t vocabulary) {
  std::vector<int32_t> ids;
  if (const Json* value = Value(name)) {
    if (auto error = ReadTokenIds(name, *value, vocabulary, &ids)) Fail(*std::move(error));
  }
  return ids;
}

const Json* FieldReader::Object(const std::string& name) {
  const Json* value = Value(name);
  if (value == nullptr || value->is_object()) return value;
  Fail(name, "must be an object");
  return nullptr;
}

const Json* FieldReader::Array(const std::string& name) {
  const Json* value = Value(name);
  if (value == nullptr || value->is_array()) return value;
  Fail(name, "must be an array");
  return nullptr;
}

void FieldReader::NumberMustBe(const std::string& name, double only) {
  const Json* value = Value(name);
  if (value == nullptr) return;
  if (!value->is_number()) {
    Fail(name, "must be a number");
  } else if (value->get<double>() != only) {
    Fail(name, absl::StrCat("only ", only, " is supported by this server"));
  }
}

void FieldReader::MustBeEmpty(const std::string& name) {
  const Json* value = Value(name);
  if (value == nullptr) return;
  const bool empty = (value->is_structured() && value->empty()) ||
                     (value->is_string() && value->get_ref<const std::string&>().empty());
  if (!empty) Fail(name, "is not supported by this server");
}

void FieldReader::Fail(ApiError error) {
  if (!error_) error_ = std::move(error);
}

std::vector<std::string> FieldReader::Unknown() const {
  std::vector<std::string> unknown;
  for (const auto& [name, value] : object_.items()) {
    if (!known_.contains(name)) unknown.push_back(name);
  }
  return unknown;
}

std::optional<ApiError> ReadTokenIds(const std::string& name, const Json& array, int32_t vocabulary,
                                     std::vector<int32_t>* ids) {
  if (!array.is_array()) return InvalidField(name, "must be an array of token ids");
  ids->reserve(array.size());
  for (const Json& id : array) {
    const auto number = AsInteger(id);
    if (!number) return InvalidField(name, "must hold integers only");
    if (*number < 0 || *number >= vocabulary) {
      return InvalidField(name, absl::StrCat("token ids must be between 0 and ", vocabulary - 1));
    }
    ids->push_back(static_cast<int32_t>(*number));
  }
  return std::nullopt;
}

}  // namespace switchyard::gateway
