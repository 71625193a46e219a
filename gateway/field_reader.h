#pragma once

// Typed access to the fields of a request. A field that is null counts as missing.

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "gateway/api_error.h"
#include "gateway/json_body.h"

namespace switchyard::gateway {

// Keeps the first error; later reads then give defaults. Not thread-safe.
class FieldReader {
 public:
  explicit FieldReader(const Json& object) : object_(object) {}  // must outlive the reader

  // Null when the field is missing or null.
  const Json* Value(const std::string& name);

  bool Bool(const std::string& name, bool otherwise);
  std::optional<int64_t> Integer(const std::string& name, int64_t least, int64_t most);
  std::optional<double> Number(const std::string& name, double least, double most);
  std::optional<std::string> String(const std::string& name);
  std::vector<int32_t> TokenIds(const std::string& name, int32_t vocabulary);
  const Json* Object(const std::string& name);
  const Json* Array(const std::string& name);

  // The field exists for clients, but only with values that change nothing.
  void NumberMustBe(const std::string& name, double only);
  void MustBeEmpty(const std::string& name);

  // For fields that need no look.
  void Ignore(const std::string& name) { known_.insert(name); }

  void Fail(ApiError error);
  void Fail(const std::string& name, const std::string& problem) {
    Fail(InvalidField(name, problem));
  }

  const std::optional<ApiError>& error() const { return error_; }

  // Fields that nobody asked for, in the order of the request.
  std::vector<std::string> Unknown() const;

 private:
  const Json& object_;
  std::set<std::string> known_;
  std::optional<ApiError> error_;
};

// Ids of a JSON array; an error when it is no array of integers in [0, vocabulary).
std::optional<ApiError> ReadTokenIds(const std::string& name, const Json& array, int32_t vocabulary,
                                     std::vector<int32_t>* ids);

}  // namespace switchyard::gateway
