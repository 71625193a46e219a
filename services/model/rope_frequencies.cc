#include "services/model/rope_frequencies.h"

#include <cmath>
#include <numbers>

#include "absl/status/status.h"

namespace switchyard::model {
namespace {

// 1 / theta^(2i / rotary_dim). The exponent and theta are fp32 there; the power is taken in fp64
// and rounded once, which does not depend on the version of the C library's powf.
std::vector<float> DefaultFrequencies(const RopeSpec& rope) {
  std::vector<float> frequencies(static_cast<size_t>(rope.rotary_dim / 2));
  const auto dimension = static_cast<float>(rope.rotary_dim);
  const double theta = static_cast<float>(rope.theta);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / dimension;
    frequencies[i] = 1.0f / static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
  }
  return frequencies;
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

}  // namespace

absl::StatusOr<kernels::RopeTable> RopeFrequencies(const RopeSpec& rope) {
  kernels::RopeTable table;
  table.inverse_frequency = DefaultFrequencies(rope);
  switch (rope.kind) {
    case RopeKind::kDefault:
      return table;
    case RopeKind::kLinear:
      for (float& frequency : table.inverse_frequency) frequency /= static_cast<float>(rope.factor);
      return table;
    case RopeKind::kLlama3:
      for (float& frequency : table.inverse_frequency) frequency = Llama3Frequency(frequency, rope);
      return table;
    case RopeKind::kDynamic:
    case RopeKind::kYarn:
    case RopeKind::kLongrope:
      break;
  }
  return absl::UnimplementedError("this kind of rope scaling is not supported yet");
}

}  // namespace switchyard::model
