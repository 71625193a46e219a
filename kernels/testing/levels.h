#pragma once

#include <vector>

#include "kernels/base/cpu.h"

namespace switchyard::kernels::testing {

// Every CPU level that this machine can run, lowest first.
inline std::vector<CpuLevel> RunnableLevels() {
  std::vector<CpuLevel> levels;
  for (CpuLevel level :
       {CpuLevel::kScalar, CpuLevel::kAvx2, CpuLevel::kAvx512, CpuLevel::kAvx512Bf16}) {
    if (level <= DetectCpuLevel()) levels.push_back(level);
  }
  return levels;
}

// Runs the rest of a scope at one level.
class ScopedCpuLevel {
 public:
  explicit ScopedCpuLevel(CpuLevel level) : before_(ActiveCpuLevel()) { ForceCpuLevel(level); }
  ~ScopedCpuLevel() { ForceCpuLevel(before_); }
  ScopedCpuLevel(const ScopedCpuLevel&) = delete;
  ScopedCpuLevel& operator=(const ScopedCpuLevel&) = delete;

 private:
  CpuLevel before_;
};

}  // namespace switchyard::kernels::testing
