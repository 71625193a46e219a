#pragma once

// Elementary functions for float and for F32x16: one source, hence the same bits (math.h says what
// they compute). Included by simd.h, and by kernels/simt/math.h for GPUs, in a namespace of theirs.
// Constants are minimax fits of this project.

namespace switchyard::kernels::SWITCHYARD_SIMD {

// One lane, so that the functions below can be instantiated for a float.
struct I32x1 {
  uint32_t value;
  constexpr explicit I32x1(int32_t v) : value(static_cast<uint32_t>(v)) {}
};

SWITCHYARD_INLINE I32x1 operator+(I32x1 a, I32x1 b) {
  return I32x1(static_cast<int32_t>(a.value + b.value));
}
SWITCHYARD_INLINE I32x1 operator-(I32x1 a, I32x1 b) {
  return I32x1(static_cast<int32_t>(a.value - b.value));
}
SWITCHYARD_INLINE I32x1 operator&(I32x1 a, I32x1 b) {
  return I32x1(static_cast<int32_t>(a.value & b.value));
}
SWITCHYARD_INLINE I32x1 operator^(I32x1 a, I32x1 b) {
  return I32x1(static_cast<int32_t>(a.value ^ b.value));
}
template <int n>
SWITCHYARD_INLINE I32x1 ShiftLeft(I32x1 a) {
  return I32x1(static_cast<int32_t>(a.value << n));
}
template <int n>
SWITCHYARD_INLINE I32x1 ShiftRight(I32x1 a) {
  return I32x1(static_cast<int32_t>(a.value) >> n);
}
SWITCHYARD_INLINE I32x1 ToInt(float a) { return I32x1(static_cast<int32_t>(a)); }
SWITCHYARD_INLINE float ToFloat(I32x1 a) {
  return static_cast<float>(static_cast<int32_t>(a.value));
}
SWITCHYARD_INLINE I32x1 Bits(float a) { return I32x1(std::bit_cast<int32_t>(a)); }
SWITCHYARD_INLINE float FromBits(I32x1 a) { return std::bit_cast<float>(a.value); }
SWITCHYARD_INLINE bool NonZero(I32x1 a) { return a.value != 0; }
SWITCHYARD_INLINE float Select(bool m, float a, float b) { return m ? a : b; }
SWITCHYARD_INLINE float Fma(float a, float b, float c) { return std::fma(a, b, c); }
SWITCHYARD_INLINE float Sqrt(float a) { return std::sqrt(a); }
SWITCHYARD_INLINE float RoundToInteger(float a) { return std::nearbyint(a); }

template <typename F>
using IntOf = decltype(Bits(F()));

// 2^n is put together from two halves, so that n = 128 does not overflow before the product does.
template <typename F>
SWITCHYARD_INLINE F Exp(F x) {
  using I = IntOf<F>;
  const F shift(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  const F shifted = Fma(x, F(1.44269502f), shift);
  const F n = shifted - shift;
  F r = Fma(n, F(-0.693147182f), x);
  r = Fma(n, F(1.90465421e-9f), r);
  F q = Fma(r, F(0.00138131424f), F(0.00836941879f));
  q = Fma(r, q, F(0.041668456f));
  q = Fma(r, q, F(0.166665152f));
  q = Fma(r, q, F(0.49999994f));
  const F p = F(1.0f) + Fma(r * r, q, r);
  const I exponent = Bits(shifted) - Bits(shift);
  const I half = ShiftRight<1>(exponent);
  const I bias(127);
  const F scaled =
      p * FromBits(ShiftLeft<23>(half + bias)) * FromBits(ShiftLeft<23>(exponent - half + bias));
  const F not_small = Select(x < F(-87.33654f), F(0.0f), scaled);
  return Select(F(88.72284f) < x, F(__builtin_inff()), not_small);
}

// x = 2^e * m with m in [sqrt(1/2), sqrt(2)); log(m) by the series of atanh in s = f / (2 + f).
template <typename F>
SWITCHYARD_INLINE F Log(F x) {
  using I = IntOf<F>;
  const I exponent = ShiftRight<23>(Bits(x) - I(0x3f3504f3));
  const F e = ToFloat(exponent);
  const F f = FromBits(Bits(x) - ShiftLeft<23>(exponent)) - F(1.0f);
  const F s = f / (F(2.0f) + f);
  const F z = s * s;
  F series = Fma(z, F(0.235967875f), F(0.28536579f));
  series = Fma(z, series, F(0.400003463f));
  series = z * Fma(z, series, F(0.666666627f));
  const F half_square = F(0.5f) * f * f;
  const F low = Fma(s, half_square + series, e * F(-1.90465421e-9f));
  const F result = Fma(e, F(0.693147182f), f - (half_square - low));
  const F infinity(__builtin_inff());
  const F smallest(1.17549435e-38f);  // below it all is zero: subnormals do not exist here
  const F defined = Select(x < infinity, result, x);  // infinity and NaN give themselves
  const F not_zero = Select(x < smallest, F(-__builtin_inff()), defined);
  return Select(x <= F(-1.17549435e-38f), F(__builtin_nanf("")), not_zero);
}

template <typename F>
SWITCHYARD_INLINE F Sigmoid(F x) {
  return F(1.0f) / (F(1.0f) + Exp(F(0.0f) - x));
}

template <typename F>
SWITCHYARD_INLINE F Silu(F x) {
  return x * Sigmoid(x);
}

// Below 1 an odd polynomial; above 1 - exp(-x^2) q(t) with t = 1 / (1 + |x| / 2).
template <typename F>
SWITCHYARD_INLINE F Erf(F x) {
  const F magnitude = Select(x < F(0.0f), F(0.0f) - x, x);
  const F z = x * x;
  F p = Fma(z, F(7.88911930e-5f), F(-8.02084105e-4f));
  p = Fma(z, p, F(0.00518953521f));
  p = Fma(z, p, F(-0.0268544443f));
  p = Fma(z, p, F(0.112836003f));
  p = Fma(z, p, F(-0.37612626f));
  p = Fma(z, p, F(1.12837911f));
  const F t = F(1.0f) / Fma(magnitude, F(0.5f), F(1.0f));
  F q = Fma(t, F(-0.230801657f), F(0.63668f));
  q = Fma(t, q, F(-0.064460583f));
  q = Fma(t, q, F(0.396802038f));
  q = Fma(t, q, F(0.259700626f));
  q = Fma(t, q, F(0.00182248105f));
  const F tail = F(1.0f) - q * Exp(F(0.0f) - z);
  return Select(magnitude < F(1.0f), x * p, Select(x < F(0.0f), F(0.0f) - tail, tail));
}

template <typename F>
SWITCHYARD_INLINE F Gelu(F x) {
  return F(0.5f) * x * (F(1.0f) + Erf(x * F(0.707106781f)));
}

// (1 + tanh(u)) / 2 is the sigmoid of 2u.
template <typename F>
SWITCHYARD_INLINE F GeluTanh(F x) {
  const F u = F(1.59576912f) * Fma(F(0.044715f) * x * x, x, x);
  return x * Sigmoid(u);
}

template <typename F>
SWITCHYARD_INLINE F Rsqrt(F x) {
  return F(1.0f) / Sqrt(x);
}

// The angle less n quarter turns; pi/2 in three parts of 24 bits. For large angles the quotient is
// itself rounded, so the rest can reach 1.2 and the polynomials are fitted to 1.3.
template <typename F>
SWITCHYARD_INLINE void SinCos(F angle, F* sine, F* cosine) {
  using I = IntOf<F>;
  const F limit(16777216.0f);
  const auto above = limit < angle;
  const auto below = angle < F(-16777216.0f);
  const F finite = Select(angle == angle, angle, F(0.0f));
  const F bounded = Select(above, F(0.0f), Select(below, F(0.0f), finite));

  const F n = RoundToInteger(Fma(bounded, F(0.636619747f), bounded * F(2.56825533e-8f)));
  F r = Fma(n, F(-1.57079637f), bounded);
  r = Fma(n, F(4.37113883e-8f), r);
  r = Fma(n, F(1.71512451e-15f), r);
  const F z = r * r;
  F s = Fma(z, F(2.65436097e-6f), F(-0.000198269656f));
  s = Fma(z, s, F(0.00833325367f));
  s = Fma(z, s, F(-0.166666657f));
  s = Fma(r * z, s, r);
  F c = Fma(z, F(-2.66163141e-7f), F(2.47862863e-5f));
  c = Fma(z, c, F(-0.00138887845f));
  c = Fma(z, c, F(0.0416666642f));
  c = Fma(z * z, c, Fma(z, F(-0.5f), F(1.0f)));

  const I quadrant = ToInt(n);
  const auto swapped = NonZero(quadrant & I(1));
  const I sine_sign = ShiftLeft<30>(quadrant & I(2));
  const I cosine_sign = ShiftLeft<30>((quadrant + I(1)) & I(2));
  const F sine_value = FromBits(Bits(Select(swapped, c, s)) ^ sine_sign);
  const F cosine_value = FromBits(Bits(Select(swapped, s, c)) ^ cosine_sign);
  const F nan(__builtin_nanf(""));
  const auto in_range = bounded == angle;
  *sine = Select(in_range, sine_value, nan);
  *cosine = Select(in_range, cosine_value, nan);
}

}  // namespace switchyard::kernels::SWITCHYARD_SIMD
