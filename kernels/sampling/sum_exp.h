#pragma once

// The normaliser of a softmax over a vocabulary.

#include <cstdint>
#include <span>

namespace switchyard::kernels {

// Sum of Exp(value - max) over the values >= `floor`. Blocks of 1024 ids are summed in fp32 in 16
// lanes (docs/arithmetic.md, "Other reductions"; left-out values add 0), the blocks' sums added in
// fp64 in ascending order. No value may be NaN; `max` is finite.
double SumExp(std::span<const float> values, float max, float floor);

}  // namespace switchyard::kernels
