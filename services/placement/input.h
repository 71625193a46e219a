#pragma once

// What placement decides from.

#include <cstdint>
#include <vector>

namespace switchyard::placement {

// An expert of a layer: layer index * experts_per_layer + expert id.
using Item = uint32_t;

struct Host {
  uint32_t capacity = 0;     // experts, over all layers
  double speed = 0;          // rows per second; 0: unknown, taken as the median of the known
  std::vector<Item> loaded;  // each once
};

struct PlacementInput {
  uint32_t layers = 0;  // MoE layers
  uint32_t experts_per_layer = 0;
  uint32_t replicas = 1;     // owners wanted of each expert
  std::vector<double> load;  // rows seen per item; empty, or too few to tell: taken as equal
  std::vector<Host> hosts;
  bool rebalance = true;  // false: only what has too few owners moves
};

}  // namespace switchyard::placement
