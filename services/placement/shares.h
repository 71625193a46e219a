#pragma once

// How noisy measurements of load and speed become the numbers that placement compares.

#include <cstdint>
#include <vector>

#include "services/placement/input.h"

namespace switchyard::placement {

// Relative speed per host, the median being 1. Rounded to steps of a factor of about 1.4, so that
// the noise of a measurement does not move experts.
std::vector<double> RelativeSpeeds(const std::vector<Host>& hosts);

// Load of one replica per item, in units of 1 / kMeanLoad of the layer's mean. A layer with few
// rows counts as equally loaded, and no expert counts as free. Whole numbers, so that sums do not
// depend on the order of adding and a placement that was balanced once stays.
inline constexpr int64_t kMeanLoad = 1 << 20;
std::vector<int64_t> ReplicaLoads(const PlacementInput& input);

}  // namespace switchyard::placement
