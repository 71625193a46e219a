#include "services/model/checkpoint_digest.h"

#include <xxhash.h>

#include <algorithm>
#include <memory>
#include <string_view>

#include "services/base/status_macros.h"

namespace switchyard::model {
namespace {

constexpr size_t kSampledTensors = 256;
constexpr uint64_t kSampledBytes = 256;

class Hash {
 public:
  Hash() : state_(XXH3_createState(), &XXH3_freeState) { XXH3_64bits_reset(state_.get()); }

  // Lengths are hashed too, so that no two sequences of texts give the same bytes.
  void Add(std::string_view text) {
    Add(text.size());
    XXH3_64bits_update(state_.get(), text.data(), text.size());
  }
  void Add(uint64_t value) { XXH3_64bits_update(state_.get(), &value, sizeof(value)); }

  uint64_t Value() const { return XXH3_64bits_digest(state_.get()); }

 private:
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state_;
};

// Where the folder lies differs from host to host, so only the file's own name counts.
std::string_view FileName(const std::string& path) {
  return std::string_view(path).substr(path.rfind('/') + 1);
}

absl::Status AddSample(const StoredTensor& stored, Hash& hash) {
  const uint64_t bytes = std::min(stored.tensor->bytes(), kSampledBytes);
  std::string sample(bytes, '\0');
  RETURN_IF_ERROR(stored.file->Read(*stored.tensor, (stored.tensor->bytes() - bytes) / 2, bytes,
                                    sample.data()));
  hash.Add(sample);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<uint64_t> CheckpointDigest(const std::string& config, const ShardSet& shards) {
  Hash hash;
  hash.Add(config);
  const size_t stride = shards.tensors().size() / kSampledTensors + 1;
  size_t index = 0;
  for (const auto& [name, stored] : shards.tensors()) {
    hash.Add(name);
    hash.Add(Name(stored.tensor->type));
    hash.Add(stored.tensor->shape.size());
    for (const int64_t extent : stored.tensor->shape) hash.Add(static_cast<uint64_t>(extent));
    hash.Add(FileName(stored.file->path()));
    hash.Add(stored.tensor->begin);
    if (index++ % stride == 0) RETURN_IF_ERROR(AddSample(stored, hash));
  }
  return hash.Value();
}

}  // namespace switchyard::model
