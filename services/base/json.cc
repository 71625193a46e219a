#include "services/base/json.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

using nlohmann::json;

// Builds the document while it counts. A handler that returns false ends the parse at once.
class BoundedBuilder : public nlohmann::json_sax<json> {
 public:
  explicit BoundedBuilder(const JsonLimits& limits) : limits_(limits) {}

  bool null() override { return Add(nullptr) != nullptr; }
  bool boolean(bool value) override { return Add(value) != nullptr; }
  bool number_integer(int64_t value) override { return Add(value) != nullptr; }
  bool number_unsigned(uint64_t value) override { return Add(value) != nullptr; }
  bool number_float(double value, const std::string&) override { return Add(value) != nullptr; }
  bool string(std::string& value) override { return Add(std::move(value)) != nullptr; }
  bool binary(json::binary_t&) override { return Fail("binary values are not JSON"); }

  bool start_object(size_t) override { return Open(json::object()); }
  bool start_array(size_t) override { return Open(json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }

  bool key(std::string& value) override {
    if (open_.back()->contains(value)) return Fail(absl::StrCat("duplicate key \"", value, "\""));
    key_ = std::move(value);
    return true;
  }

  bool parse_error(size_t, const std::string&, const json::exception& error) override {
    return Fail(JsonErrorText(error));
  }

  const std::string& error() const { return error_; }
  json Take() { return std::move(root_); }

 private:
  bool Fail(std::string error) {
    error_ = std::move(error);
    return false;
  }

  json* Add(json value) {
    if (++values_ > limits_.values) {
      Fail(absl::StrCat("more than ", limits_.values, " values"));
      return nullptr;
    }
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    json& slot = parent[key_];
    slot = std::move(value);
    return &slot;
  }

  bool Open(json container) {
    if (open_.size() == limits_.depth) {
      return Fail(absl::StrCat("nested deeper than ", limits_.depth));
    }
    json* added = Add(std::move(container));
    if (added == nullptr) return false;
    open_.push_back(added);  // stays valid: its parent gets no sibling before it closes
    return true;
  }

  bool Close() {
    open_.pop_back();
    return true;
  }

  const JsonLimits limits_;
  json root_;
  std::vector<json*> open_;
  std::string key_;
  std::string error_;
  size_t values_ = 0;
};

}  // namespace

std::string JsonErrorText(const nlohmann::json::exception& error) {
  const std::string text = error.what();
  const size_t tag = text.find("] ");
  return tag == std::string::npos ? text : text.substr(tag + 2);
}

absl::StatusOr<json> ParseJson(const std::string& text, const JsonLimits& limits,
                               const std::string& name) {
  if (text.size() > limits.bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", text.size(), " bytes of JSON; at most ", limits.bytes));
  }
  BoundedBuilder builder(limits);
  if (!json::sax_parse(text, &builder)) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", builder.error()));
  }
  return builder.Take();
}

}  // namespace switchyard
