#pragma once

// Typed, range-checked access to the keys of a JSON object, with errors that name file and key.
// A key whose value is null counts as absent, as in Hugging Face configs.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace switchyard::model {

class JsonFields {
 public:
  // Parses a whole file, at most 1 MB, whose top is an object.
  static absl::StatusOr<JsonFields> Parse(const std::string& text, std::string file);

  bool Has(const std::string& key) const;     // present and not null
  bool IsNull(const std::string& key) const;  // present and null

  // The value of a required key in [low, high].
  absl::StatusOr<int64_t> Integer(const std::string& key, int64_t low, int64_t high) const;
  absl::StatusOr<double> Number(const std::string& key, double low, double high) const;
  absl::StatusOr<std::string> String(const std::string& key) const;

  // The same with a value for an absent key; the value itself is not checked.
  absl::StatusOr<int64_t> Integer(const std::string& key, int64_t low, int64_t high,
                                  int64_t fallback) const;
  absl::StatusOr<double> Number(const std::string& key, double low, double high,
                                double fallback) const;
  absl::StatusOr<bool> Bool(const std::string& key, bool fallback) const;
  absl::StatusOr<std::string> String(const std::string& key, const std::string& fallback) const;

  // One integer or a list of at most 1024.
  absl::StatusOr<std::vector<int64_t>> Integers(const std::string& key, int64_t low,
                                                int64_t high) const;

  // A list of at most 1024.
  absl::StatusOr<std::vector<double>> Numbers(const std::string& key, double low,
                                              double high) const;
  absl::StatusOr<std::vector<std::string>> Strings(const std::string& key) const;

  // The object under a key; its own keys appear as "key.name" in errors.
  absl::StatusOr<JsonFields> Object(const std::string& key) const;

  // "FILE: KEY TEXT".
  absl::Status Error(const std::string& key, const std::string& text) const;
  absl::Status Unsupported(const std::string& key, const std::string& text) const;

 private:
  JsonFields(nlohmann::json object, std::string file, std::string prefix);

  const nlohmann::json* Find(const std::string& key) const;
  absl::StatusOr<int64_t> IntegerIn(const nlohmann::json& value, const std::string& key,
                                    int64_t low, int64_t high) const;
  absl::StatusOr<double> NumberIn(const nlohmann::json& value, const std::string& key, double low,
                                  double high) const;
  absl::StatusOr<std::string> StringIn(const nlohmann::json& value, const std::string& key) const;
  // The list under a required key.
  absl::StatusOr<const nlohmann::json*> List(const std::string& key) const;
  std::string Place(const std::string& key) const;

  nlohmann::json object_;
  std::string file_;
  std::string prefix_;
};

}  // namespace switchyard::model
