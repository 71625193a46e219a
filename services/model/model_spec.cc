#include "services/model/model_spec.h"

#include "services/base/check.h"

namespace switchyard::model {

std::vector<int64_t> ModelSpec::MoeLayers() const {
  std::vector<int64_t> indices;
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    if (layers[layer].ffn.router) indices.push_back(static_cast<int64_t>(layer));
  }
  for (size_t layer = 0; layer < encoder_layers.size(); ++layer) {
    if (encoder_layers[layer].ffn.router) {
      indices.push_back(static_cast<int64_t>(layers.size() + layer));
    }
  }
  return indices;
}

std::vector<int64_t> ModelSpec::MoeBlocks() const {
  std::vector<int64_t> indices;
  for (int64_t block = 0; block < Blocks(); ++block) {
    if (Block(block).ffn.router) indices.push_back(block);
  }
  return indices;
}

int64_t ModelSpec::Blocks() const {
  return static_cast<int64_t>(layers.size() + (mtp ? 1 : 0) + encoder_layers.size());
}

const LayerSpec& ModelSpec::Block(int64_t index) const {
  CHECK(index >= 0 && index < Blocks()) << "layer " << index;
  const auto at = static_cast<size_t>(index);
  if (at < layers.size()) return layers[at];
  return mtp ? *mtp : encoder_layers[at - layers.size()];
}

}  // namespace switchyard::model
