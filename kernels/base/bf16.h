#pragma once

// bfloat16: the upper half of an fp32. Rounding is to nearest, ties to even; subnormals become zero
// of the same sign, a NaN stays a (quiet) NaN. Integer operations only, so that the result does not
// depend on the floating-point mode of the thread.

#include <bit>
#include <cstdint>

namespace switchyard::kernels {

constexpr float Bf16ToFloat(uint16_t value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value) << 16);
}

constexpr uint16_t FloatToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  if (magnitude < 0x00800000u) return static_cast<uint16_t>((bits >> 16) & 0x8000u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// The value that remains when `value` travels as bf16.
constexpr float RoundToBf16(float value) { return Bf16ToFloat(FloatToBf16(value)); }

}  // namespace switchyard::kernels
