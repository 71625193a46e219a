#include "router_service/sequence_rope.h"

#include <utility>

#include "services/base/check.h"
#include "services/base/status_macros.h"
#include "services/model/rope_frequencies.h"

namespace switchyard::router {
namespace {

absl::StatusOr<std::shared_ptr<const kernels::RopeTable>> TableOf(const model::RopeSpec& spec,
                                                                  int64_t length) {
  ASSIGN_OR_RETURN(kernels::RopeTable table, model::RopeFrequencies(spec, length));
  return std::make_shared<const kernels::RopeTable>(std::move(table));
}

}  // namespace

absl::StatusOr<SequenceRopes> SequenceRopes::Create(const model::RopeSpec& spec) {
  SequenceRopes ropes(spec);
  ASSIGN_OR_RETURN(ropes.short_, TableOf(spec, 0));
  if (spec.kind == model::RopeKind::kLongrope) {
    ASSIGN_OR_RETURN(ropes.long_, TableOf(spec, spec.original_max_positions + 1));
  }
  return ropes;
}

SequenceRope SequenceRopes::Of(int64_t length) const {
  if (!model::RopeDependsOnLength(spec_)) return {};
  if (length <= spec_.original_max_positions) return {.table = short_};
  if (long_ != nullptr) return {.table = long_, .regime = 1};
  // Dynamic: every length has a table of its own.
  auto table = TableOf(spec_, length);
  CHECK(table.ok()) << table.status();  // Create has made one
  return {.table = *std::move(table), .regime = static_cast<uint64_t>(length)};
}

}  // namespace switchyard::router
