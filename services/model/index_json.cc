#include "services/model/index_json.h"

#include <nlohmann/json.hpp>
#include <set>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/base/json.h"
#include "services/base/status_macros.h"
#include "services/model/checkpoint_folder.h"
#include "services/model/safetensors_header.h"

namespace switchyard::model {
namespace {

absl::Status CheckShardName(const std::string& shard, const std::string& tensor,
                            const std::string& file) {
  const auto error = [&](const char* text) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": tensor \"", tensor, "\": shard \"",
                                                   shard.substr(0, 64), "\" ", text));
  };
  if (!IsPlainFileName(shard)) {
    return error("is not the plain name of a file in the checkpoint's folder");
  }
  if (!absl::EndsWith(shard, ".safetensors")) {
    return error("is not a .safetensors file; other formats can execute code and are never loaded");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<WeightMap> ParseIndex(const std::string& text, const std::string& file) {
  const JsonLimits limits = {.bytes = kMaxIndexBytes, .depth = 8, .values = 2'000'000};
  ASSIGN_OR_RETURN(const nlohmann::json index, ParseJson(text, limits, file));
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": weight_map must be an object"));
  }
  WeightMap weights;
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : index["weight_map"].items()) {
    if (tensor.size() > kMaxTensorNameBytes || !shard.is_string()) {
      return absl::InvalidArgumentError(absl::StrCat(file, ": weight_map: tensor \"",
                                                     tensor.substr(0, kMaxTensorNameBytes),
                                                     "\" must have the name of a file"));
    }
    const std::string& name = shard.get_ref<const std::string&>();
    RETURN_IF_ERROR(CheckShardName(name, tensor, file));
    shards.insert(name);
    if (shards.size() > kMaxShards) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ": weight_map names more than ", kMaxShards, " shards"));
    }
    weights.emplace(tensor, name);
  }
  if (weights.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": weight_map is empty"));
  }
  return weights;
}

}  // namespace switchyard::model
