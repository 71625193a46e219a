#pragma once

// What a model's name says of its size, for a comparison with what its tensors add up to.

#include <cstdint>
#include <string>
#include <string_view>

namespace switchyard::plan {

// A sentence when the name states a number of parameters ("mixtral-8x7b": 56 thousand millions,
// "olmoe-1b-7b": 1 or 7) and none of the numbers is within a tenth of `parameters`; else empty.
// What follows an "a" states active parameters and does not count.
std::string NameDisagreement(std::string_view name, int64_t parameters);

// "46.7B": three digits or four and a unit (K, M, B, T).
std::string HumanCount(int64_t count);

}  // namespace switchyard::plan
