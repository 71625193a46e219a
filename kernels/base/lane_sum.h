#pragma once

// The 16-lane sum of docs/arithmetic-attention.md one element at a time: what the vector code does
// with a register of lanes and ReduceAdd. constexpr, so that kernels of GPUs can call it.

#include <cstdint>

namespace switchyard::kernels {

// Joins neighbours: ((0+1)+(2+3)) + ... + (... + (14+15)); the lanes stay as they are.
constexpr float JoinLanes(const float* lanes) {
  float node[16];
  for (int i = 0; i < 16; ++i) node[i] = lanes[i];
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) node[i] = node[2 * i] + node[2 * i + 1];
  }
  return node[0];
}

struct LaneSum {
  float lane[16] = {};

  constexpr void Add(int64_t index, float value) { lane[index % 16] += value; }

  constexpr float Total() const { return JoinLanes(lane); }
};

}  // namespace switchyard::kernels
