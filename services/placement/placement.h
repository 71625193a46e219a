#pragma once

// Which hosts own which experts: a pure function of loads, capacities, speeds and of what is loaded
// already. It moves as little as possible, because every move is a load of weights beside traffic.
//
// Rules, the earlier ones first:
//  1. Every expert has an owner while the capacities allow it, then a second one, and so on up to
//     `replicas`; owners of one expert are different hosts; no host holds more than its capacity.
//  2. An expert stays where it is loaded.
//  3. If `rebalance`: within each layer, and then over all layers, load is shared in proportion to
//  speed: an expert
//     moves only when that lowers the load of the busiest host and this host is above its share by
//     more than kTolerance.
//
// The same input gives the same output on every machine: ties go to the lower host index.

#include <cstdint>
#include <vector>

#include "services/placement/input.h"

namespace switchyard::placement {

// How far above its share a host's load may be before experts move away from it.
inline constexpr double kTolerance = 0.1;

struct PlacementResult {
  std::vector<std::vector<uint32_t>> owners;  // per item: indexes into hosts, ascending
  std::vector<Item> missing;           // items without an owner, ascending: capacity is short
  std::vector<Item> under_replicated;  // items with an owner, but fewer than wanted
};

PlacementResult Place(const PlacementInput& input);

}  // namespace switchyard::placement
