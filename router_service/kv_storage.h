#pragma once

// The memory of the paged KV cache of one stage: for each of its layers, `pages` pages in the
// layout of services/model/kv_layout.h. Page ids mean the same in every stage; who owns a page is
// KvCache's business.

#include <cstdint>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/base/buffer.h"
#include "kernels/base/numerics.h"
#include "services/model/model_spec.h"

namespace switchyard::router {

class KvStorage {
 public:
  KvStorage(const model::ModelSpec& spec, int64_t first_layer, int64_t last_layer,
            kernels::NumericsClass numerics, int64_t pages);

  // `local_layer` counts from the stage's first layer.
  const kernels::KvLayout& layout(int64_t local_layer) const { return layouts_[local_layer]; }
  void* layer(int64_t local_layer) { return memory_.As<char>() + offsets_[local_layer]; }
  int64_t pages() const { return pages_; }
  size_t bytes() const { return memory_.size(); }

 private:
  int64_t pages_;
  std::vector<kernels::KvLayout> layouts_;
  std::vector<int64_t> offsets_;  // of each layer's page 0
  kernels::Buffer memory_;
};

}  // namespace switchyard::router
