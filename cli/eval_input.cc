#include "cli/eval_input.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "services/base/file.h"
#include "services/base/json.h"
#include "services/base/status_macros.h"

namespace switchyard::cli {
namespace {

constexpr size_t kMaxFileBytes = size_t{256} << 20;

absl::StatusOr<std::vector<int32_t>> ReadIds(const nlohmann::json& array, const std::string& what) {
  if (!array.is_array() || array.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(what, " must be a list of token ids"));
  }
  std::vector<int32_t> ids;
  ids.reserve(array.size());
  for (const nlohmann::json& value : array) {
    if (!value.is_number_integer() || value.get<int64_t>() < 0 ||
        value.get<int64_t>() > std::numeric_limits<int32_t>::max()) {
      return absl::InvalidArgumentError(absl::StrCat(what, " holds something else than token ids"));
    }
    ids.push_back(value.get<int32_t>());
  }
  return ids;
}

absl::StatusOr<EvalRow> ReadMaskedRow(const nlohmann::json& object, const std::string& what) {
  if (!object.is_object() || !object.contains("ids") || !object.contains("reply")) {
    return absl::InvalidArgumentError(absl::StrCat(what, " needs \"ids\" and \"reply\""));
  }
  EvalRow row;
  ASSIGN_OR_RETURN(row.ids, ReadIds(object["ids"], absl::StrCat(what, ".ids")));
  ASSIGN_OR_RETURN(const auto marks, ReadIds(object["reply"], absl::StrCat(what, ".reply")));
  if (marks.size() != row.ids.size()) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": ids and reply differ in length"));
  }
  for (const int32_t mark : marks) row.counted.push_back(mark != 0);
  return row;
}

}  // namespace

absl::StatusOr<EvalInput> ReadEvalInput(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path, kMaxFileBytes));
  ASSIGN_OR_RETURN(const nlohmann::json json,
                   ParseJson(text, {.bytes = kMaxFileBytes, .values = 50'000'000}, path));
  EvalInput input;
  if (json.is_object() && json.contains("input_ids") && json["input_ids"].is_array()) {
    for (const nlohmann::json& row : json["input_ids"]) {
      ASSIGN_OR_RETURN(auto ids,
                       ReadIds(row, absl::StrCat(path, ": input_ids[", input.rows.size(), "]")));
      input.rows.push_back({std::move(ids), {}});
    }
  } else if (json.is_object() && json.contains("rows") && json["rows"].is_array()) {
    for (const nlohmann::json& object : json["rows"]) {
      ASSIGN_OR_RETURN(
          auto row, ReadMaskedRow(object, absl::StrCat(path, ": rows[", input.rows.size(), "]")));
      input.rows.push_back(std::move(row));
    }
  }
  if (input.rows.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": needs \"input_ids\": a list of rows of token ids"));
  }
  input.rectangular = std::all_of(input.rows.begin(), input.rows.end(), [&](const EvalRow& row) {
    return row.ids.size() == input.rows.front().ids.size();
  });
  return input;
}

EvalInput CutIntoRows(const std::vector<int32_t>& ids, int64_t length, int64_t bos) {
  EvalInput input;
  const int64_t step = bos >= 0 ? length - 1 : length;
  for (size_t begin = 0; begin < ids.size(); begin += step) {
    EvalRow row;
    if (bos >= 0) row.ids.push_back(static_cast<int32_t>(bos));
    const size_t end = std::min(ids.size(), begin + step);
    row.ids.insert(row.ids.end(), ids.begin() + begin, ids.begin() + end);
    if (row.ids.size() > 1) input.rows.push_back(std::move(row));
  }
  return input;
}

}  // namespace switchyard::cli
