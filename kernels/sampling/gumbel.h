#pragma once

// Gumbel noise as sampling.h defines it, the same on every device. Internal.

#include <array>
#include <cstdint>

#include "kernels/sampling/philox.h"

namespace switchyard::kernels {

inline constexpr int32_t kNoiseGroup = 4;  // tokens that share one call of the generator

constexpr std::array<uint32_t, 4> RandomWords(uint64_t seed, int64_t position, int32_t group) {
  const uint64_t place = static_cast<uint64_t>(position);
  return Philox4x32({static_cast<uint32_t>(group), static_cast<uint32_t>(place),
                     static_cast<uint32_t>(place >> 32), 0},
                    {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
}

// -log(E) with E = -log(1 - v) exponentially distributed, v = (word + 1/2) / 2^32. Small v, which
// make the large noise that wins, keep their full precision by the series of log. `log` is the
// device's Log.
template <typename LogFunction>
constexpr float GumbelFromWord(uint32_t word, LogFunction log) {
  constexpr float kScale = 0x1p-32f;
  const float v = (static_cast<float>(word) + 0.5f) * kScale;
  const float complement = (static_cast<float>(~word) + 0.5f) * kScale;
  const float exponential = v < 0x1p-12f ? v + 0.5f * v * v : -log(complement);
  return -log(exponential);
}

}  // namespace switchyard::kernels
