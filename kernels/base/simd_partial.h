#pragma once

// What the levels share beyond single operations: parts of a vector, and its sum and maximum.
// Included by simd.h only.

namespace switchyard::kernels::SWITCHYARD_SIMD {

// The first `count` lanes (1..16); the others are `fill`.
SWITCHYARD_INLINE F32x16 LoadPartial(const float* p, int64_t count, float fill = 0.0f) {
  alignas(64) float lanes[16];
  for (int i = 0; i < 16; ++i) lanes[i] = i < count ? p[i] : fill;
  return Load(lanes);
}
SWITCHYARD_INLINE void StorePartial(F32x16 a, float* p, int64_t count) {
  alignas(64) float lanes[16];
  Store(a, lanes);
  for (int64_t i = 0; i < count; ++i) p[i] = lanes[i];
}
SWITCHYARD_INLINE F32x16 LoadBf16Partial(const uint16_t* p, int64_t count) {
  alignas(64) uint16_t lanes[16];
  for (int i = 0; i < 16; ++i) lanes[i] = i < count ? p[i] : uint16_t{0};
  return LoadBf16(lanes);
}
SWITCHYARD_INLINE void StoreBf16Partial(F32x16 a, uint16_t* p, int64_t count) {
  alignas(64) uint16_t lanes[16];
  StoreBf16(a, lanes);
  for (int64_t i = 0; i < count; ++i) p[i] = lanes[i];
}

// The fixed tree over neighbours: ((0+1)+(2+3)) + ... + (... + (14+15)).
SWITCHYARD_INLINE float ReduceAdd(F32x16 a) {
  alignas(64) float lanes[16];
  Store(a, lanes);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] = lanes[2 * i] + lanes[2 * i + 1];
  }
  return lanes[0];
}

// The largest lane; lanes must not be NaN.
SWITCHYARD_INLINE float ReduceMax(F32x16 a) {
  alignas(64) float lanes[16];
  Store(a, lanes);
  float largest = lanes[0];
  for (int i = 1; i < 16; ++i) largest = lanes[i] > largest ? lanes[i] : largest;
  return largest;
}

}  // namespace switchyard::kernels::SWITCHYARD_SIMD
