#pragma once

// The step after choosing and weighing: which choices are sent and get a place. Internal.

#include "kernels/router/router.h"

namespace switchyard::kernels {

// Whether this convention may drop choices, or positions are asked for.
bool NeedsSlots(const RouterArgs& args);

// With DropOrder::kRandom: whether args.permutation permutes the rows of each capacity group.
absl::Status CheckPermutation(const RouterArgs& args);

// From ids and weights of all rows (failed ones have ids of -1) to what is kept: sets the ids of
// dropped choices to -1 and their weights to 0, renormalises after drops where the convention says
// so, and writes args.position if there is one.
void AssignSlots(const RouterArgs& args);

}  // namespace switchyard::kernels
