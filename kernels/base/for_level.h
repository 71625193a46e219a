#pragma once

// Chooses a kernel's implementation for the active CPU level.

#include "kernels/base/cpu.h"

namespace switchyard::kernels {

// `avx512` serves the BF16 extension too: for kernels that do not use it.
template <typename T>
T ForActiveLevel(T scalar, T avx2, T avx512) {
  switch (ActiveCpuLevel()) {
    case CpuLevel::kScalar:
      return scalar;
    case CpuLevel::kAvx2:
      return avx2;
    case CpuLevel::kAvx512:
    case CpuLevel::kAvx512Bf16:
      return avx512;
  }
  return scalar;
}

}  // namespace switchyard::kernels
