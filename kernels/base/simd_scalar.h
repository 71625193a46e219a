#pragma once

// simd.h for any processor: arrays of 16. Included by simd.h only.

namespace switchyard::kernels::SWITCHYARD_SIMD {

struct I32x16;

struct F32x16 {
  float lane[16];

  F32x16() = default;
  SWITCHYARD_INLINE explicit F32x16(float value) {
    for (float& x : lane) x = value;
  }
};

struct I32x16 {
  int32_t lane[16];

  I32x16() = default;
  SWITCHYARD_INLINE explicit I32x16(int32_t value) {
    for (int32_t& x : lane) x = value;
  }
};

struct Mask16 {
  bool lane[16];
};

template <typename To, typename From, typename F>
SWITCHYARD_INLINE To Map(const From& a, F f) {
  To result;
  for (int i = 0; i < 16; ++i) result.lane[i] = f(a.lane[i]);
  return result;
}

template <typename To, typename From, typename F>
SWITCHYARD_INLINE To Map(const From& a, const From& b, F f) {
  To result;
  for (int i = 0; i < 16; ++i) result.lane[i] = f(a.lane[i], b.lane[i]);
  return result;
}

SWITCHYARD_INLINE F32x16 operator+(F32x16 a, F32x16 b) {
  return Map<F32x16>(a, b, [](float x, float y) { return x + y; });
}
SWITCHYARD_INLINE F32x16 operator-(F32x16 a, F32x16 b) {
  return Map<F32x16>(a, b, [](float x, float y) { return x - y; });
}
SWITCHYARD_INLINE F32x16 operator*(F32x16 a, F32x16 b) {
  return Map<F32x16>(a, b, [](float x, float y) { return x * y; });
}
SWITCHYARD_INLINE F32x16 operator/(F32x16 a, F32x16 b) {
  return Map<F32x16>(a, b, [](float x, float y) { return x / y; });
}
SWITCHYARD_INLINE F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) {
  F32x16 result;
  for (int i = 0; i < 16; ++i) result.lane[i] = std::fma(a.lane[i], b.lane[i], c.lane[i]);
  return result;
}
SWITCHYARD_INLINE void MultiplyAdd(F32x16 a, F32x16 b, F32x16& sum) { sum = Fma(a, b, sum); }
SWITCHYARD_INLINE F32x16 Sqrt(F32x16 a) {
  return Map<F32x16>(a, [](float x) { return std::sqrt(x); });
}
SWITCHYARD_INLINE F32x16 RoundToInteger(F32x16 a) {
  return Map<F32x16>(a, [](float x) { return std::nearbyint(x); });
}
SWITCHYARD_INLINE F32x16 Min(F32x16 a, F32x16 b) {
  return Map<F32x16>(a, b, [](float x, float y) { return x < y ? x : y; });
}
SWITCHYARD_INLINE F32x16 Max(F32x16 a, F32x16 b) {
  return Map<F32x16>(a, b, [](float x, float y) { return x > y ? x : y; });
}

SWITCHYARD_INLINE I32x16 operator+(I32x16 a, I32x16 b) {
  return Map<I32x16>(a, b, [](uint32_t x, uint32_t y) { return static_cast<int32_t>(x + y); });
}
SWITCHYARD_INLINE I32x16 operator-(I32x16 a, I32x16 b) {
  return Map<I32x16>(a, b, [](uint32_t x, uint32_t y) { return static_cast<int32_t>(x - y); });
}
SWITCHYARD_INLINE I32x16 operator&(I32x16 a, I32x16 b) {
  return Map<I32x16>(a, b, [](int32_t x, int32_t y) { return x & y; });
}
SWITCHYARD_INLINE I32x16 operator^(I32x16 a, I32x16 b) {
  return Map<I32x16>(a, b, [](int32_t x, int32_t y) { return x ^ y; });
}
template <int n>
SWITCHYARD_INLINE I32x16 ShiftLeft(I32x16 a) {
  return Map<I32x16>(a, [](uint32_t x) { return static_cast<int32_t>(x << n); });
}
template <int n>
SWITCHYARD_INLINE I32x16 ShiftRight(I32x16 a) {
  return Map<I32x16>(a, [](int32_t x) { return x >> n; });
}
SWITCHYARD_INLINE I32x16 ToInt(F32x16 a) {
  return Map<I32x16>(a, [](float x) { return static_cast<int32_t>(x); });
}
SWITCHYARD_INLINE F32x16 ToFloat(I32x16 a) {
  return Map<F32x16>(a, [](int32_t x) { return static_cast<float>(x); });
}
SWITCHYARD_INLINE I32x16 Bits(F32x16 a) { return std::bit_cast<I32x16>(a); }
SWITCHYARD_INLINE F32x16 FromBits(I32x16 a) { return std::bit_cast<F32x16>(a); }

SWITCHYARD_INLINE Mask16 operator<(F32x16 a, F32x16 b) {
  return Map<Mask16>(a, b, [](float x, float y) { return x < y; });
}
SWITCHYARD_INLINE Mask16 operator<=(F32x16 a, F32x16 b) {
  return Map<Mask16>(a, b, [](float x, float y) { return x <= y; });
}
SWITCHYARD_INLINE Mask16 operator==(F32x16 a, F32x16 b) {
  return Map<Mask16>(a, b, [](float x, float y) { return x == y; });
}
SWITCHYARD_INLINE Mask16 NonZero(I32x16 a) {
  return Map<Mask16>(a, [](int32_t x) { return x != 0; });
}
SWITCHYARD_INLINE uint32_t ToBitmap(Mask16 m) {
  uint32_t bitmap = 0;
  for (int i = 0; i < 16; ++i) bitmap |= static_cast<uint32_t>(m.lane[i]) << i;
  return bitmap;
}
SWITCHYARD_INLINE F32x16 Select(Mask16 m, F32x16 a, F32x16 b) {
  F32x16 result;
  for (int i = 0; i < 16; ++i) result.lane[i] = m.lane[i] ? a.lane[i] : b.lane[i];
  return result;
}

// Lanes 2i and 2i + 1 change places.
SWITCHYARD_INLINE F32x16 SwapPairs(F32x16 a) {
  F32x16 result;
  for (int i = 0; i < 16; ++i) result.lane[i] = a.lane[i ^ 1];
  return result;
}

SWITCHYARD_INLINE F32x16 Load(const float* p) {
  F32x16 result;
  for (int i = 0; i < 16; ++i) result.lane[i] = p[i];
  return result;
}
SWITCHYARD_INLINE void Store(F32x16 a, float* p) {
  for (int i = 0; i < 16; ++i) p[i] = a.lane[i];
}
SWITCHYARD_INLINE F32x16 LoadBf16(const uint16_t* p) {
  F32x16 result;
  for (int i = 0; i < 16; ++i) result.lane[i] = Bf16ToFloat(p[i]);
  return result;
}
SWITCHYARD_INLINE void StoreBf16(F32x16 a, uint16_t* p) {
  for (int i = 0; i < 16; ++i) p[i] = FloatToBf16(a.lane[i]);
}
SWITCHYARD_INLINE F32x16 RoundToBf16(F32x16 a) {
  return Map<F32x16>(a, [](float x) { return kernels::RoundToBf16(x); });
}

// Sixteen 32-bit words that hold two bf16 each: the lower (element 2i) and the upper (2i + 1).
SWITCHYARD_INLINE I32x16 LoadInt(const void* p) {
  I32x16 result;
  __builtin_memcpy(&result, p, sizeof(result));
  return result;
}
SWITCHYARD_INLINE F32x16 LowerBf16(I32x16 pairs) { return FromBits(ShiftLeft<16>(pairs)); }
SWITCHYARD_INLINE F32x16 UpperBf16(I32x16 pairs) {
  return FromBits(pairs & I32x16(static_cast<int32_t>(0xffff0000u)));
}

}  // namespace switchyard::kernels::SWITCHYARD_SIMD
