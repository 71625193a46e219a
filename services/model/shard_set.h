#pragma once

// The safetensors files of a checkpoint folder as one table of tensors.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/model/checkpoint_folder.h"
#include "services/model/safetensors_file.h"

namespace switchyard::model {

// Where a tensor is stored; lives as long as its ShardSet.
struct StoredTensor {
  const SafetensorsFile* file = nullptr;
  const SafetensorsTensor* tensor = nullptr;
};

class ShardSet {
 public:
  // model.safetensors, else the shards of model.safetensors.index.json. Index and shards must agree
  // on every tensor in both directions. A folder with pickled weights only is refused.
  static absl::StatusOr<ShardSet> Open(const CheckpointFolder& folder);

  const std::map<std::string, StoredTensor, std::less<>>& tensors() const { return tensors_; }

 private:
  absl::Status AddSingleFile(const CheckpointFolder& folder);
  absl::Status AddShards(const CheckpointFolder& folder);
  absl::StatusOr<const SafetensorsFile*> OpenFile(const CheckpointFolder& folder,
                                                  const std::string& name);

  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, StoredTensor, std::less<>> tensors_;
};

}  // namespace switchyard::model
