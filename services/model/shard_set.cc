#include "services/model/shard_set.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/model/index_json.h"

namespace switchyard::model {
namespace {

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";

absl::Status NoWeights(const CheckpointFolder& folder) {
  for (const char* ending : {".bin", ".bin.index.json", ".pt", ".pth", ".pkl", ".ckpt"}) {
    ASSIGN_OR_RETURN(const std::string pickle, folder.FindEnding(ending));
    if (pickle.empty()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(folder.PathOf(pickle),
                     ": pickled weights can execute code and are never loaded; convert "
                     "the checkpoint to safetensors"));
  }
  return absl::NotFoundError(
      absl::StrCat(folder.path(), " has neither ", kSingleFile, " nor ", kIndexFile));
}

}  // namespace

absl::StatusOr<ShardSet> ShardSet::Open(const CheckpointFolder& folder) {
  ShardSet shards;
  if (folder.Contains(kSingleFile)) {
    RETURN_IF_ERROR(shards.AddSingleFile(folder));
  } else if (folder.Contains(kIndexFile)) {
    RETURN_IF_ERROR(shards.AddShards(folder));
  } else {
    return NoWeights(folder);
  }
  return shards;
}

absl::StatusOr<const SafetensorsFile*> ShardSet::OpenFile(const CheckpointFolder& folder,
                                                          const std::string& name) {
  ASSIGN_OR_RETURN(UniqueFd fd, folder.OpenFile(name));
  ASSIGN_OR_RETURN(SafetensorsFile file,
                   SafetensorsFile::FromFd(std::move(fd), folder.PathOf(name)));
  files_.push_back(std::make_unique<SafetensorsFile>(std::move(file)));
  return files_.back().get();
}

absl::Status ShardSet::AddSingleFile(const CheckpointFolder& folder) {
  ASSIGN_OR_RETURN(const SafetensorsFile* file, OpenFile(folder, kSingleFile));
  for (const auto& [name, tensor] : file->tensors()) tensors_[name] = {file, &tensor};
  return absl::OkStatus();
}

absl::Status ShardSet::AddShards(const CheckpointFolder& folder) {
  ASSIGN_OR_RETURN(const std::string text, folder.ReadFile(kIndexFile, kMaxIndexBytes));
  const std::string index_path = folder.PathOf(kIndexFile);
  ASSIGN_OR_RETURN(const WeightMap weights, ParseIndex(text, index_path));

  std::map<std::string, const SafetensorsFile*> opened;
  for (const auto& [name, shard] : weights) {
    const SafetensorsFile*& file = opened[shard];
    if (file == nullptr) {
      ASSIGN_OR_RETURN(file, OpenFile(folder, shard));
    }
    const SafetensorsTensor* tensor = file->Find(name);
    if (tensor == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(index_path, " places tensor \"", name,
                                                     "\" in ", shard, ", which does not have it"));
    }
    tensors_[name] = {file, tensor};
  }
  for (const auto& [shard, file] : opened) {
    for (const auto& [name, tensor] : file->tensors()) {
      const auto it = weights.find(name);
      if (it != weights.end() && it->second == shard) continue;
      return absl::InvalidArgumentError(
          absl::StrCat(file->path(), " holds tensor \"", name, "\", which ", index_path,
                       it == weights.end() ? " does not list" : " places in another shard"));
    }
  }
  return absl::OkStatus();
}

}  // namespace switchyard::model
