#include "services/model/rope_frequencies.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace switchyard::model {
namespace {

// theta^(2i / rotary_dim). The exponent and theta are fp32 there; the power is taken in fp64 and
// rounded once, which does not depend on the version of the C library's powf.
std::vector<float> PowersOfTheta(double theta, int64_t rotary_dim) {
  std::vector<float> powers(static_cast<size_t>(rotary_dim / 2));
  const auto dimension = static_cast<float>(rotary_dim);
  const double base = static_cast<float>(theta);
  for (size_t i = 0; i < powers.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / dimension;
    powers[i] = static_cast<float>(std::pow(base, static_cast<double>(exponent)));
  }
  return powers;
}

std::vector<float> DefaultFrequencies(double theta, int64_t rotary_dim) {
  std::vector<float> frequencies = PowersOfTheta(theta, rotary_dim);
  for (float& frequency : frequencies) frequency = 1.0f / frequency;
  return frequencies;
}

// The base with which the longest wavelength grows `ratio` times and the shortest stays.
double StretchedBase(const RopeSpec& rope, double ratio) {
  const auto dimension = static_cast<double>(rope.rotary_dim);
  return rope.theta * std::pow(ratio, dimension / (dimension - 2));
}

double DynamicBase(const RopeSpec& rope, int64_t length) {
  const auto original = static_cast<double>(rope.original_max_positions);
  const auto longest = static_cast<double>(std::max(length, rope.original_max_positions));
  return StretchedBase(rope, rope.factor * longest / original - (rope.factor - 1));
}

// Long wavelengths are stretched by the factor, short ones kept, those between are blended.
float Llama3Frequency(float frequency, const RopeSpec& rope) {
  const auto original = static_cast<double>(rope.original_max_positions);
  const auto low = static_cast<float>(rope.low_frequency_factor);
  const auto factor = static_cast<float>(rope.factor);
  const auto low_wavelength = static_cast<float>(original / rope.low_frequency_factor);
  const auto high_wavelength = static_cast<float>(original / rope.high_frequency_factor);
  const float wavelength = static_cast<float>(2 * std::numbers::pi) / frequency;

  if (wavelength < high_wavelength) return frequency;
  if (wavelength > low_wavelength) return frequency / factor;
  const float smooth = (static_cast<float>(original) / wavelength - low) /
                       static_cast<float>(rope.high_frequency_factor - rope.low_frequency_factor);
  return (1.0f - smooth) * frequency / factor + smooth * frequency;
}

// The pair that turns `rotations` times within the original length, as a fraction.
double YarnPair(const RopeSpec& rope, double rotations) {
  const auto dimension = static_cast<double>(rope.rotary_dim);
  const auto original = static_cast<double>(rope.original_max_positions);
  return dimension * std::log(original / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(rope.theta));
}

// Fast pairs keep their frequency, slow ones are divided by the factor, with a ramp between.
std::vector<float> YarnFrequencies(const RopeSpec& rope) {
  double low = YarnPair(rope, rope.beta_fast);
  double high = YarnPair(rope, rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rope.rotary_dim - 1));
  if (low == high) high += 0.001;

  std::vector<float> frequencies = PowersOfTheta(rope.theta, rope.rotary_dim);
  const auto factor = static_cast<float>(rope.factor);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const float ramp = std::clamp(
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f,
        1.0f);
    const float kept = 1.0f - ramp;
    const float power = frequencies[i];
    frequencies[i] = 1.0f / (factor * power) * (1.0f - kept) + 1.0f / power * kept;
  }
  return frequencies;
}

double YarnMscale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

double YarnAttentionFactor(const RopeSpec& rope) {
  if (rope.attention_factor) return *rope.attention_factor;
  if (rope.mscale == 0 || rope.mscale_all_dim == 0) return YarnMscale(rope.factor, 1);
  return YarnMscale(rope.factor, rope.mscale) / YarnMscale(rope.factor, rope.mscale_all_dim);
}

bool IsLong(const RopeSpec& rope, int64_t length) { return length > rope.original_max_positions; }

absl::StatusOr<std::vector<float>> LongropeFrequencies(const RopeSpec& rope, int64_t length) {
  const std::vector<double>& factors = IsLong(rope, length) ? rope.long_factor : rope.short_factor;
  std::vector<float> frequencies = PowersOfTheta(rope.theta, rope.rotary_dim);
  if (factors.size() != frequencies.size()) {
    return absl::InvalidArgumentError(absl::StrCat("longrope has ", factors.size(), " factors for ",
                                                   frequencies.size(), " pairs"));
  }
  for (size_t i = 0; i < frequencies.size(); ++i) {
    frequencies[i] = 1.0f / (static_cast<float>(factors[i]) * frequencies[i]);
  }
  return frequencies;
}

double LongropeAttentionFactor(const RopeSpec& rope, int64_t length) {
  const std::optional<double>& mscale = IsLong(rope, length) ? rope.long_mscale : rope.short_mscale;
  if (mscale) return *mscale;
  if (rope.attention_factor) return *rope.attention_factor;
  if (rope.factor <= 1) return 1;
  return std::sqrt(1 + std::log(rope.factor) /
                           std::log(static_cast<double>(rope.original_max_positions)));
}

}  // namespace

absl::StatusOr<kernels::RopeTable> RopeFrequencies(const RopeSpec& rope, int64_t length) {
  kernels::RopeTable table;
  std::vector<float>& frequencies = table.inverse_frequency;
  switch (rope.kind) {
    case RopeKind::kDefault:
      frequencies = DefaultFrequencies(rope.theta, rope.rotary_dim);
      break;
    case RopeKind::kNtk:
      frequencies = DefaultFrequencies(StretchedBase(rope, rope.alpha), rope.rotary_dim);
      break;
    case RopeKind::kDynamic:
      frequencies = DefaultFrequencies(DynamicBase(rope, length), rope.rotary_dim);
      break;
    case RopeKind::kLinear:
      frequencies = DefaultFrequencies(rope.theta, rope.rotary_dim);
      for (float& frequency : frequencies) frequency /= static_cast<float>(rope.factor);
      break;
    case RopeKind::kLlama3:
      frequencies = DefaultFrequencies(rope.theta, rope.rotary_dim);
      for (float& frequency : frequencies) frequency = Llama3Frequency(frequency, rope);
      break;
    case RopeKind::kYarn:
      frequencies = YarnFrequencies(rope);
      table.attention_factor = static_cast<float>(YarnAttentionFactor(rope));
      break;
    case RopeKind::kLongrope: {
      absl::StatusOr<std::vector<float>> found = LongropeFrequencies(rope, length);
      if (!found.ok()) return found.status();
      frequencies = *std::move(found);
      table.attention_factor = static_cast<float>(LongropeAttentionFactor(rope, length));
      break;
    }
  }
  return table;
}

bool RopeDependsOnLength(const RopeSpec& rope) {
  return rope.kind == RopeKind::kDynamic || rope.kind == RopeKind::kLongrope;
}

}  // namespace switchyard::model
