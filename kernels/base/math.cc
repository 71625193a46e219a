#include "kernels/base/math.h"

#include "kernels/base/simd.h"

namespace switchyard::kernels {

float Exp(float x) { return SWITCHYARD_SIMD::Exp(x); }
float Log(float x) { return SWITCHYARD_SIMD::Log(x); }
float Sigmoid(float x) { return SWITCHYARD_SIMD::Sigmoid(x); }
float Silu(float x) { return SWITCHYARD_SIMD::Silu(x); }
float Erf(float x) { return SWITCHYARD_SIMD::Erf(x); }
float Gelu(float x) { return SWITCHYARD_SIMD::Gelu(x); }
float GeluTanh(float x) { return SWITCHYARD_SIMD::GeluTanh(x); }
float Rsqrt(float x) { return SWITCHYARD_SIMD::Rsqrt(x); }
void SinCos(float angle, float* sine, float* cosine) {
  SWITCHYARD_SIMD::SinCos(angle, sine, cosine);
}

}  // namespace switchyard::kernels
