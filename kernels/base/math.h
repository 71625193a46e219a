#pragma once

// Elementary functions with one definition for every backend: explicit fma, integer operations,
// IEEE divide and square root, no libm. Scalar here; the vector forms do the same operations lane
// by lane and give the same bits. Errors are tested over all fp32 inputs (math_test.cc).

namespace switchyard::kernels {

float Exp(float x);       // 0 for x < about -87.3 (no subnormal results), +inf above 88.72
float Log(float x);       // natural; -inf at 0, NaN below
float Sigmoid(float x);   // 1 / (1 + Exp(-x))
float Silu(float x);      // x * Sigmoid(x)
float Erf(float x);       // within 2e-7
float Gelu(float x);      // x (1 + Erf(x / sqrt 2)) / 2
float GeluTanh(float x);  // its approximation by tanh, transformers' "gelu_new"
float Rsqrt(float x);     // 1 / sqrt(x), two IEEE operations

// Sine and cosine of an angle given as position * inverse_frequency in fp32, reduced exactly
// enough for |angle| up to 2^24.
void SinCos(float angle, float* sine, float* cosine);

}  // namespace switchyard::kernels
