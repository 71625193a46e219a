#include "kernels/base/cpu.h"

#include <algorithm>
#include <atomic>

namespace switchyard::kernels {
namespace {

std::atomic<CpuLevel>& Active() {
  static std::atomic<CpuLevel> level{DetectCpuLevel()};
  return level;
}

}  // namespace

CpuLevel DetectCpuLevel() {
#if defined(__x86_64__)
  // The builtin also asks the operating system whether it saves the wide registers.
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return CpuLevel::kScalar;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
    return CpuLevel::kAvx2;
  }
  return __builtin_cpu_supports("avx512bf16") ? CpuLevel::kAvx512Bf16 : CpuLevel::kAvx512;
#else
  return CpuLevel::kScalar;
#endif
}

CpuLevel ActiveCpuLevel() { return Active().load(std::memory_order_relaxed); }

void ForceCpuLevel(CpuLevel level) {
  Active().store(std::min(level, DetectCpuLevel()), std::memory_order_relaxed);
}

std::string_view Name(CpuLevel level) {
  switch (level) {
    case CpuLevel::kScalar:
      return "scalar";
    case CpuLevel::kAvx2:
      return "avx2";
    case CpuLevel::kAvx512:
      return "avx512";
    case CpuLevel::kAvx512Bf16:
      return "avx512bf16";
  }
  return "unknown";
}

}  // namespace switchyard::kernels
