#pragma once

// Inner loops of machine_limits.cc, per CPU level. Internal.

#include <cstdint>

#include "kernels/base/cpu.h"
#include "kernels/base/numerics.h"

namespace switchyard::kernels {

struct PeakLoop {
  // Runs `iterations` rounds of multiply-adds in registers; returns something that depends on all.
  float (*run)(int64_t iterations);
  int64_t flops_per_iteration;
};

PeakLoop PeakLoopFor(NumericsClass numerics, CpuLevel level);

// Reads `lines` lines of 64 bytes; returns something that depends on all.
using ReadLoop = int32_t (*)(const void* data, int64_t lines);
ReadLoop ReadLoopFor(CpuLevel level);

// One per level, defined in peak_loops_<level>.cc.
extern const PeakLoop kFmaPeakScalar;
extern const PeakLoop kFmaPeakAvx2;
extern const PeakLoop kFmaPeakAvx512;
extern const PeakLoop kDotBf16PeakAvx512Bf16;
extern const ReadLoop kReadScalar;
extern const ReadLoop kReadAvx2;
extern const ReadLoop kReadAvx512;

}  // namespace switchyard::kernels
