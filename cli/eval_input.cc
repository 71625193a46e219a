#include "cli/eval_input.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/file.h"
#include "services/base/json.h"
#include "services/base/status_macros.h"

namespace switchyard::cli {
namespace {

constexpr size_t kMaxFileBytes = size_t{256} << 20;
constexpr char kDecoderIds[] = "decoder_input_ids";

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

absl::StatusOr<std::vector<std::vector<int32_t>>> ReadRows(const nlohmann::json& json,
                                                           const std::string& key,
                                                           const std::string& path) {
  if (!json[key].is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", key, " must be a list of rows"));
  }
  std::vector<std::vector<int32_t>> rows;
  for (const nlohmann::json& row : json[key]) {
    ASSIGN_OR_RETURN(auto ids, ReadIds(row, absl::StrCat(path, ": ", key, "[", rows.size(), "]")));
    rows.push_back(std::move(ids));
  }
  return rows;
}

bool IsRectangular(const std::vector<EvalRow>& rows) {
  return std::all_of(rows.begin(), rows.end(), [&](const EvalRow& row) {
    return row.ids.size() == rows.front().ids.size() &&
           row.source.size() == rows.front().source.size();
  });
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
    ASSIGN_OR_RETURN(auto rows, ReadRows(json, "input_ids", path));
    for (std::vector<int32_t>& ids : rows) input.rows.emplace_back().ids = std::move(ids);
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
  if (json.contains(kDecoderIds)) {
    ASSIGN_OR_RETURN(input.decoder_ids, ReadRows(json, kDecoderIds, path));
  }
  input.rectangular = IsRectangular(input.rows);
  return input;
}

absl::Status SplitSource(int32_t start, EvalInput& input) {
  if (input.decoder_ids.empty()) input.decoder_ids.assign(input.rows.size(), {start});
  if (input.decoder_ids.size() != input.rows.size()) {
    return absl::InvalidArgumentError(absl::StrCat(kDecoderIds, " has ", input.decoder_ids.size(),
                                                   " rows, input_ids ", input.rows.size()));
  }
  for (size_t row = 0; row < input.rows.size(); ++row) {
    EvalRow& target = input.rows[row];
    if (!target.counted.empty()) {
      return absl::InvalidArgumentError(
          "rows with a mask of replies are for models without an encoder");
    }
    target.source = std::exchange(target.ids, std::move(input.decoder_ids[row]));
  }
  input.decoder_ids.clear();
  input.rectangular = IsRectangular(input.rows);
  return absl::OkStatus();
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
