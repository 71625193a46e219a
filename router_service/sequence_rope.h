#pragma once

// Rope that depends on the length (longrope, dynamic): which table a sequence rotates with. All
// keys of a sequence need one table, and its bits may not depend on how far it has come when a row
// is computed. So the length that counts is the one that the request asks for, prompt and longest
// answer together, known when it arrives and the same wherever it is taken up again.

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/rope/rope.h"
#include "services/model/model_spec.h"

namespace switchyard::router {

struct SequenceRope {
  std::shared_ptr<const kernels::RopeTable> table;  // none: the model's only one
  // Cached keys of one regime are of no use in another.
  uint64_t regime = 0;
};

// Immutable, so safe from any thread.
class SequenceRopes {
 public:
  static absl::StatusOr<SequenceRopes> Create(const model::RopeSpec& spec);

  // The table up to the original length, for a model whose rope does not depend on it the only one.
  const kernels::RopeTable& Default() const { return *short_; }

  // Of a sequence of at most `length` positions.
  SequenceRope Of(int64_t length) const;

 private:
  explicit SequenceRopes(const model::RopeSpec& spec) : spec_(spec) {}

  model::RopeSpec spec_;
  std::shared_ptr<const kernels::RopeTable> short_;
  std::shared_ptr<const kernels::RopeTable> long_;  // longrope only
};

}  // namespace switchyard::router
