#pragma once

// The losses of noisy top-k (Shazeer et al. 2017, arXiv 1701.06538): CV^2 of importance and load.

#include <cstdint>

#include "kernels/router/router.h"

namespace switchyard::kernels {

// importance[experts] = sum over rows of the weights that go to the expert. `chosen` and `weights`
// are [rows][k]; an id of -1 is left out.
void Importance(const int32_t* chosen, const float* weights, int64_t rows, int64_t k,
                int64_t experts, float* importance);

// load[experts] = sum over rows of Phi((logit_i - t_i) / sigma_i), t_i the k-th largest noisy logit
// of the row without expert i: the probability that i is chosen when its noise is drawn again. The
// number of rows where k = experts. Reads logits, noise and noise_logits of Route()'s arguments.
void NoisyLoad(const RouterArgs& args, float* load);

// Population variance / (mean^2 + 1e-10). A well-known PyTorch port uses the unbiased variance.
float SquaredVariation(const float* values, int64_t count);

// importance_coefficient * CV^2(importance) + load_coefficient * CV^2(load), the latter with noise
// alone.
float NoisyTopKLoss(const RouterArgs& args, const int32_t* chosen, const float* weights);

}  // namespace switchyard::kernels
