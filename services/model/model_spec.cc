#include "services/model/model_spec.h"

namespace switchyard::model {

std::vector<int64_t> ModelSpec::MoeLayers() const {
  std::vector<int64_t> indices;
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    if (layers[layer].ffn.router) indices.push_back(static_cast<int64_t>(layer));
  }
  return indices;
}

}  // namespace switchyard::model
