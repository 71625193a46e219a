#pragma once

// The correction bias of DeepSeek-V3 (arXiv 2412.19437 section 2.1.2): balances without a loss.

#include <cstdint>

namespace switchyard::kernels {

// After a training step: bias[i] += step * sign(mean(load) - load[i]), fp32, sign(0) = 0. `load`
// counts the choices of the whole batch (all ranks). With `center` (torchtitan) the mean of the
// steps is subtracted from each.
void UpdateBias(const int64_t* load, int64_t experts, float step, bool center, float* bias);

}  // namespace switchyard::kernels
