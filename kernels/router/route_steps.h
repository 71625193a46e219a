#pragma once

// What Route() does before and after the rows choose and weigh, on the host whatever the device.
// Internal.

#include "absl/status/status.h"
#include "kernels/router/router.h"

namespace switchyard::kernels {

// Whether the arguments fit the convention.
absl::Status CheckRouterArgs(const RouterArgs& args);

// With ids, weights and failed of all rows: writes `chosen`, drops what finds no place, and writes
// `position`.
void DropChoices(const RouterArgs& args);

}  // namespace switchyard::kernels
