#pragma once

// Sixteen fp32 lanes, with one interface at every CPU level, so that a kernel is written once and
// compiled once a level:
//
//   // kernel_impl.h
//   #include "kernels/base/simd.h"
//   namespace switchyard::kernels::SWITCHYARD_SIMD {
//   void Kernel(...) { F32x16 sum = ...; }
//   }
//   // kernel_scalar.cc, kernel_avx2.cc, kernel_avx512.cc: #include "kernel_impl.h", each compiled
//   // with the options of its level (kernels/base/levels.bzl).
//
// The level follows from the compiler's options. Everything lives in a namespace of its level:
// otherwise the linker could choose an AVX-512 copy of an inline function for a machine without it.
// For the same reason code in such files keeps away from templates of the standard library.
//
// All levels give the same bits, save for the payload and sign of a NaN. Fma is always fused.

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/base/bf16.h"

// A test may build a level under another name (kernels/base/simd_emulated.h).
#if !defined(SWITCHYARD_SIMD)
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define SWITCHYARD_SIMD simd_avx512
#define SWITCHYARD_SIMD_AVX512 1
#elif defined(__AVX2__) && defined(__FMA__)
#define SWITCHYARD_SIMD simd_avx2
#define SWITCHYARD_SIMD_AVX2 1
#else
#define SWITCHYARD_SIMD simd_scalar
#endif
#endif

// Kernels run at full speed only if every operation below becomes an instruction in place.
#define SWITCHYARD_INLINE [[gnu::always_inline]] inline

#if defined(SWITCHYARD_SIMD_AVX512)
#include "kernels/base/simd_avx512.h"
#elif defined(SWITCHYARD_SIMD_AVX2)
#include "kernels/base/simd_avx2.h"
#else
#include "kernels/base/simd_scalar.h"
#endif

#include "kernels/base/simd_math.h"
#include "kernels/base/simd_partial.h"
