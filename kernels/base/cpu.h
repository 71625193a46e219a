#pragma once

// Which vector instructions the kernels use. Chosen once from cpuid; a lower level can be forced
// so that tests cover every level the machine can run. All levels give the same bits.

#include <string_view>

namespace switchyard::kernels {

enum class CpuLevel { kScalar = 0, kAvx2 = 1, kAvx512 = 2, kAvx512Bf16 = 3 };

// The highest level that this processor and operating system support.
CpuLevel DetectCpuLevel();

// The level that kernels use: the detected one, or the lower one set below. Thread-safe.
CpuLevel ActiveCpuLevel();

// Lowers the active level (a level above the detected one is clamped to it). Meant for start-up
// and for tests; must not run beside a kernel.
void ForceCpuLevel(CpuLevel level);

std::string_view Name(CpuLevel level);

}  // namespace switchyard::kernels
