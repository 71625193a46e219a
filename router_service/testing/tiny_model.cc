#include "router_service/testing/tiny_model.h"

#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "gtest/gtest.h"
#include "services/base/check.h"
#include "services/model/random_checkpoint.h"

namespace switchyard::router {
namespace {

constexpr int64_t kHidden = 32;

// Overwrites a row of the embedding with bf16 NaN.
void PoisonEmbedding(const std::string& folder) {
  std::fstream file(folder + "/model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  uint64_t header_bytes = 0;
  file.read(reinterpret_cast<char*>(&header_bytes), sizeof(header_bytes));
  std::string header(header_bytes, '\0');
  file.read(header.data(), static_cast<std::streamsize>(header_bytes));
  const auto table = nlohmann::json::parse(header);
  const int64_t begin = table["model.embed_tokens.weight"]["data_offsets"][0].get<int64_t>();
  const std::vector<uint16_t> row(kHidden, 0x7fc0);
  file.seekp(static_cast<int64_t>(sizeof(header_bytes) + header_bytes) + begin +
             kPoisonToken * kHidden * 2);
  file.write(reinterpret_cast<const char*>(row.data()), kHidden * 2);
  CHECK(file.good()) << "cannot write " << folder;
}

std::string WriteModel(const std::string& name, bool dense) {
  model::ModelSpec spec = model::MixtralSpec({.hidden = kHidden,
                                              .intermediate = 32,
                                              .layers = 2,
                                              .heads = 4,
                                              .kv_heads = 2,
                                              .head_dim = 8,
                                              .experts = 4,
                                              .top_k = 2,
                                              .vocabulary = kTinyVocabulary,
                                              .max_positions = 256});
  if (dense) {
    spec.family = "llama";
    for (model::LayerSpec& layer : spec.layers) layer.ffn.router.reset();
  }
  const std::string folder = ::testing::TempDir() + "/" + name + "." + std::to_string(getpid());
  kernels::ThreadPool pool(1);
  const absl::Status written = model::WriteRandomCheckpoint(spec, /*seed=*/5, folder, pool);
  CHECK(written.ok()) << written.ToString();
  PoisonEmbedding(folder);
  return folder;
}

}  // namespace

const std::string& TinyMoeFolder() {
  static const auto* const folder = new std::string(WriteModel("tiny_moe", /*dense=*/false));
  return *folder;
}

const model::Checkpoint& TinyMoeCheckpoint() {
  static const auto* const checkpoint = [] {
    auto opened = model::Checkpoint::Open(TinyMoeFolder());
    CHECK(opened.ok()) << opened.status().ToString();
    return new model::Checkpoint(*std::move(opened));
  }();
  return *checkpoint;
}

const std::string& TinyDenseFolder() {
  static const auto* const folder = new std::string(WriteModel("tiny_dense", /*dense=*/true));
  return *folder;
}

}  // namespace switchyard::router
