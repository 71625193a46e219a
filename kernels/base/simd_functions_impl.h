#pragma once

// Included by simd_functions_<level>.cc, compiled with the options of the level.

#include "kernels/base/simd.h"
#include "kernels/base/simd_functions.h"

namespace switchyard::kernels::SWITCHYARD_SIMD {

inline constexpr VectorFunctions kVectorFunctions = {
    .exp = [](const float* x, float* y) { Store(Exp(Load(x)), y); },
    .log = [](const float* x, float* y) { Store(Log(Load(x)), y); },
    .sigmoid = [](const float* x, float* y) { Store(Sigmoid(Load(x)), y); },
    .silu = [](const float* x, float* y) { Store(Silu(Load(x)), y); },
    .rsqrt = [](const float* x, float* y) { Store(Rsqrt(Load(x)), y); },
    .sin =
        [](const float* x, float* y) {
          F32x16 sine, cosine;
          SinCos(Load(x), &sine, &cosine);
          Store(sine, y);
        },
    .cos =
        [](const float* x, float* y) {
          F32x16 sine, cosine;
          SinCos(Load(x), &sine, &cosine);
          Store(cosine, y);
        },
    .round_to_bf16 = [](const float* x, float* y) { Store(RoundToBf16(Load(x)), y); },
    .store_bf16 = [](const float* x, uint16_t* y) { StoreBf16(Load(x), y); },
    .load_bf16 = [](const uint16_t* x, float* y) { Store(LoadBf16(x), y); },
    .reduce_add = [](const float* x, float* y) { y[0] = ReduceAdd(Load(x)); },
    .swap_pairs = [](const float* x, float* y) { Store(SwapPairs(Load(x)), y); },
};

}  // namespace switchyard::kernels::SWITCHYARD_SIMD
