#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace switchyard::kernels::testing {

// `count` normally distributed values, the same on every run.
inline std::vector<float> RandomValues(int64_t count, uint32_t seed, float scale = 1.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> distribution(0.0f, scale);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = distribution(generator);
  return values;
}

// A NaN's payload and sign are not part of any definition.
inline bool SameBits(uint16_t a, uint16_t b) {
  const auto is_nan = [](uint16_t bf16) { return (bf16 & 0x7fff) > 0x7f80; };
  return a == b || (is_nan(a) && is_nan(b));
}
inline bool SameBits(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

template <typename T>
::testing::AssertionResult SameBits(std::span<const T> actual, std::span<const T> expected) {
  if (actual.size() != expected.size()) {
    return ::testing::AssertionFailure() << actual.size() << " elements, not " << expected.size();
  }
  for (size_t i = 0; i < actual.size(); ++i) {
    if (SameBits(actual[i], expected[i])) continue;
    return ::testing::AssertionFailure()
           << "element " << i << " is " << actual[i] << ", not " << expected[i];
  }
  return ::testing::AssertionSuccess();
}

template <typename T>
::testing::AssertionResult SameBits(const std::vector<T>& actual, const std::vector<T>& expected) {
  return SameBits(std::span<const T>(actual), std::span<const T>(expected));
}

// Of vectors that lie elsewhere.
template <typename T, typename A, typename B>
::testing::AssertionResult SameBits(const std::vector<T, A>& actual,
                                    const std::vector<T, B>& expected) {
  return SameBits(std::span<const T>(actual), std::span<const T>(expected));
}

}  // namespace switchyard::kernels::testing
