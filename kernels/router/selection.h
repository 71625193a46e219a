#pragma once

// What the conventions share for one row. Internal.

#include <cstdint>

namespace switchyard::kernels {

// The maximum, or NaN when the row has no answer: a NaN or +inf, or nothing but -inf.
float MaxOrNan(const float* values, int64_t count);

// The ids of the k largest, best first, the lowest id first among equals. k <= count.
void SelectLargest(const float* values, int64_t count, int64_t k, int32_t* ids);

// 16-lane sum of Exp(logits[i] - max) over all i.
float SumExp(const float* logits, int64_t count, float max);

// probabilities[i] = Exp(logits[i] - max) / SumExp; false when the row has no answer.
bool Softmax(const float* logits, int64_t count, float* probabilities);

}  // namespace switchyard::kernels
