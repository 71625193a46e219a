#include "router_service/kv_budget.h"

#include <algorithm>
#include <iterator>

#include "router_service/kv_cache.h"
#include "services/model/kv_layout.h"

namespace switchyard::router {
namespace {

constexpr int64_t kSequences = 64;
constexpr int64_t kMemoryShare = 4;  // a quarter

}  // namespace

int64_t DefaultKvPages(const model::ModelSpec& spec, bool mtp, kernels::NumericsClass numerics,
                       int64_t memory_bytes) {
  const int64_t wanted = kSequences * PagesFor(spec.max_positions);
  // The layers of an encoder take turns with one layer's memory (stage_executor.h).
  const int64_t more = mtp || !spec.encoder_layers.empty() ? 1 : 0;
  const int64_t layers = std::ssize(spec.layers) + more;
  const int64_t affordable =
      memory_bytes / kMemoryShare / model::KvPageBytes(spec, 0, layers, numerics);
  return std::max<int64_t>(1, std::min(wanted, affordable));
}

}  // namespace switchyard::router
