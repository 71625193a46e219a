#pragma once

// For tests: every CPU level that this machine can run, each forced in turn.

#include <vector>

#include "kernels/base/cpu.h"

namespace switchyard::kernels {

inline std::vector<CpuLevel> RunnableCpuLevels() {
  std::vector<CpuLevel> levels;
  for (int level = 0; level <= static_cast<int>(DetectCpuLevel()); ++level) {
    levels.push_back(static_cast<CpuLevel>(level));
  }
  return levels;
}

// Forces a level while it lives.
class ScopedCpuLevel {
 public:
  explicit ScopedCpuLevel(CpuLevel level) : before_(ActiveCpuLevel()) { ForceCpuLevel(level); }
  ~ScopedCpuLevel() { ForceCpuLevel(before_); }
  ScopedCpuLevel(const ScopedCpuLevel&) = delete;
  ScopedCpuLevel& operator=(const ScopedCpuLevel&) = delete;

 private:
  CpuLevel before_;
};

}  // namespace switchyard::kernels
