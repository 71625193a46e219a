#include "services/model/safetensors_header.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/base/json.h"
#include "services/base/status_macros.h"

namespace switchyard::model {
namespace {

using nlohmann::json;

// shape x element size, or nothing when it does not fit in 63 bits.
std::optional<uint64_t> CheckedBytes(const std::vector<int64_t>& shape, StoredType type) {
  int64_t bytes = SizeOf(type);
  for (const int64_t extent : shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return std::nullopt;
  }
  return static_cast<uint64_t>(bytes);
}

// Takes the JSON event by event, so that memory depends on the tensors kept and not on the text.
class HeaderHandler : public nlohmann::json_sax<json> {
 public:
  explicit HeaderHandler(SafetensorsTable& table) : table_(table) {}

  const std::string& error() const { return error_; }

  bool start_object(size_t) override {
    switch (state_) {
      case State::kStart:
        return Enter(State::kTop);
      case State::kTopValue:
        if (name_ == "__metadata__") return Enter(State::kMetadata);
        fields_ = 0;
        tensor_ = {};
        return Enter(State::kTensor);
      default:
        return Unexpected("an object");
    }
  }

  bool end_object() override {
    switch (state_) {
      case State::kTop:
        return Enter(State::kEnd);
      case State::kMetadata:
        return Enter(State::kTop);
      default:
        return FinishTensor();
    }
  }

  bool key(std::string& value) override {
    switch (state_) {
      case State::kTop:
        return StartEntry(value);
      case State::kMetadata:
        return Enter(State::kMetadataValue);
      default:
        return StartField(value);
    }
  }

  bool start_array(size_t) override {
    if (state_ == State::kShape || state_ == State::kOffsets) {
      if (!std::exchange(in_array_, true)) return true;
    }
    return Unexpected("an array");
  }

  bool end_array() override {
    in_array_ = false;
    if (state_ == State::kOffsets && offsets_ != 2) return Fail("data_offsets must be two numbers");
    return Enter(State::kTensor);
  }

  bool number_unsigned(uint64_t value) override {
    if (in_array_ && state_ == State::kShape) return AddExtent(value);
    if (in_array_ && state_ == State::kOffsets) return AddOffset(value);
    return Unexpected("a number");
  }

  bool string(std::string& value) override {
    if (state_ == State::kMetadataValue) return Enter(State::kMetadata);
    if (state_ != State::kType) return Unexpected("a string");
    const std::optional<StoredType> type = ParseStoredType(value);
    if (!type) return Fail(absl::StrCat("unknown dtype \"", value.substr(0, 32), "\""));
    tensor_.type = *type;
    return Enter(State::kTensor);
  }

  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool number_integer(int64_t) override { return Unexpected("a negative number"); }
  bool number_float(double, const std::string&) override {
    return Unexpected("a number that is no 64-bit integer");
  }
  bool binary(json::binary_t&) override { return Unexpected("binary"); }
  bool parse_error(size_t, const std::string&, const json::exception& error) override {
    error_ = JsonErrorText(error);
    return false;
  }

 private:
  enum class State {
    kStart,
    kTop,
    kTopValue,
    kMetadata,
    kMetadataValue,
    kTensor,
    kType,
    kShape,
    kOffsets,
    kEnd,
  };
  enum Field : unsigned { kTypeField = 1, kShapeField = 2, kOffsetsField = 4, kAllFields = 7 };

  bool Enter(State state) {
    state_ = state;
    return true;
  }

  bool Fail(std::string error) {
    error_ = name_.empty() ? std::move(error) : absl::StrCat("tensor \"", name_, "\": ", error);
    return false;
  }

  bool Unexpected(const char* what) { return Fail(absl::StrCat("unexpected ", what)); }

  bool StartEntry(std::string& name) {
    if (name.size() > kMaxTensorNameBytes) {
      name_.clear();
      return Fail(
          absl::StrCat("a tensor name of ", name.size(), " bytes; at most ", kMaxTensorNameBytes));
    }
    name_ = std::move(name);
    if (name_ == "__metadata__") {
      if (std::exchange(metadata_seen_, true)) return Fail("duplicate key");
    } else if (table_.contains(name_)) {
      return Fail("duplicate key");
    }
    return Enter(State::kTopValue);
  }

  bool StartField(const std::string& field) {
    if (field == "dtype") return TakeField(kTypeField, State::kType);
    if (field == "shape") return TakeField(kShapeField, State::kShape);
    if (field == "data_offsets") return TakeField(kOffsetsField, State::kOffsets);
    return Fail(absl::StrCat("unknown field \"", field.substr(0, 32), "\""));
  }

  bool TakeField(Field field, State next) {
    if (fields_ & field) return Fail("duplicate field");
    fields_ |= field;
    offsets_ = 0;
    return Enter(next);
  }

  bool AddExtent(uint64_t value) {
    if (tensor_.shape.size() == kMaxTensorRank) {
      return Fail(absl::StrCat("more than ", kMaxTensorRank, " dimensions"));
    }
    if (value > static_cast<uint64_t>(INT64_MAX)) return Fail("shape overflows");
    tensor_.shape.push_back(static_cast<int64_t>(value));
    return true;
  }

  bool AddOffset(uint64_t value) {
    if (offsets_ == 2) return Fail("data_offsets must be two numbers");
    (offsets_++ == 0 ? tensor_.begin : tensor_.end) = value;
    return true;
  }

  bool FinishTensor() {
    if (fields_ != kAllFields) return Fail("needs dtype, shape and data_offsets");
    const std::optional<uint64_t> bytes = CheckedBytes(tensor_.shape, tensor_.type);
    if (!bytes) return Fail("shape times element size overflows");
    if (tensor_.end < tensor_.begin) return Fail("data_offsets end before they begin");
    if (tensor_.bytes() != *bytes) {
      return Fail(absl::StrCat("shape [", absl::StrJoin(tensor_.shape, ", "), "] needs ", *bytes,
                               " bytes but data_offsets span ", tensor_.bytes()));
    }
    if (table_.size() == kMaxSafetensorsTensors) {
      return Fail(absl::StrCat("more than ", kMaxSafetensorsTensors, " tensors"));
    }
    table_.emplace(name_, std::move(tensor_));
    return Enter(State::kTop);
  }

  SafetensorsTable& table_;
  State state_ = State::kStart;
  std::string name_;
  SafetensorsTensor tensor_;
  unsigned fields_ = 0;
  int offsets_ = 0;
  bool in_array_ = false;
  bool metadata_seen_ = false;
  std::string error_;
};

absl::Status CheckExtents(const SafetensorsTable& table, uint64_t data_bytes,
                          const std::string& file) {
  std::vector<SafetensorsTable::const_iterator> order;
  order.reserve(table.size());
  for (auto it = table.begin(); it != table.end(); ++it) order.push_back(it);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  uint64_t covered = 0;
  for (const auto& it : order) {
    const auto& [name, tensor] = *it;
    if (tensor.end > data_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ": tensor \"", name, "\" ends at byte ", tensor.end,
                       " of the data, but the file holds ", data_bytes, "; is it truncated?"));
    }
    if (tensor.begin != covered) {
      return absl::InvalidArgumentError(absl::StrCat(
          file, ": tensor \"", name, "\" begins at byte ", tensor.begin, " of the data where ",
          covered, " is due: ", tensor.begin < covered ? "tensors overlap" : "there is a hole"));
    }
    covered = tensor.end;
  }
  if (covered != data_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": ", data_bytes - covered, " bytes after the last tensor"));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t SafetensorsTensor::elements() const { return static_cast<int64_t>(bytes()) / SizeOf(type); }

absl::StatusOr<uint64_t> ParseSafetensorsLength(const uint8_t (&prefix)[kSafetensorsLengthBytes],
                                                uint64_t file_bytes, const std::string& file) {
  static_assert(std::endian::native == std::endian::little);
  uint64_t length;
  std::memcpy(&length, prefix, sizeof(length));
  if (length > kMaxSafetensorsHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": header of ", length, " bytes; at most ",
                                                   kMaxSafetensorsHeaderBytes,
                                                   ". Is this a safetensors file?"));
  }
  if (file_bytes < kSafetensorsLengthBytes || length > file_bytes - kSafetensorsLengthBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        file, ": header of ", length, " bytes in a file of ", file_bytes, "; is it truncated?"));
  }
  return length;
}

absl::StatusOr<SafetensorsTable> ParseSafetensorsHeader(const std::string& header,
                                                        uint64_t data_bytes,
                                                        const std::string& file) {
  SafetensorsTable table;
  HeaderHandler handler(table);
  if (!json::sax_parse(header, &handler)) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": safetensors header: ", handler.error()));
  }
  RETURN_IF_ERROR(CheckExtents(table, data_bytes, file));
  return table;
}

}  // namespace switchyard::model
