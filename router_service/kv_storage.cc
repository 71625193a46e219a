#include "router_service/kv_storage.h"

#include "services/model/kv_layout.h"

namespace switchyard::router {

KvStorage::KvStorage(const model::ModelSpec& spec, int64_t first_layer, int64_t last_layer,
                     kernels::NumericsClass numerics, int64_t pages)
    : pages_(pages), memory_(pages * model::KvPageBytes(spec, first_layer, last_layer, numerics)) {
  int64_t offset = 0;
  for (int64_t layer = first_layer; layer < last_layer; ++layer) {
    layouts_.push_back(model::KvLayoutOf(spec.Block(layer).attention, numerics));
    offsets_.push_back(offset);
    offset += pages * layouts_.back().page_bytes();
  }
}

}  // namespace switchyard::router
