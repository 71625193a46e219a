#pragma once

#include <cstdint>

#include "kernels/expert_ffn/grouped_gemm_layout.h"

namespace switchyard::kernels::testing {

// The byte of shared memory that the matrix instruction reads for element (row, k) of an operand,
// by the fields of its descriptor (PTX ISA, "Matrix descriptor" and "Swizzling modes").
inline uint32_t AddressRead(uint64_t descriptor, uint32_t row, uint32_t k) {
  const auto start = static_cast<uint32_t>(descriptor & 0x3fff) << 4;
  const auto stride = static_cast<uint32_t>(descriptor >> 32 & 0x3fff) << 4;
  const uint32_t address = start + row / 8 * stride + row % 8 * 128 + 2 * k;
  const bool swizzled = descriptor >> 62 == 1;  // by 128 bytes
  return swizzled ? address ^ (address >> 7 & 7) << 4 : address;
}

}  // namespace switchyard::kernels::testing
