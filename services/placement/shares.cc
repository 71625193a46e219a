#include "services/placement/shares.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace switchyard::placement {
namespace {

// Rows per expert below which a layer's loads say nothing.
constexpr double kFewRowsPerExpert = 100;

// The least load of an expert, as a share of its layer's mean.
constexpr double kLeastLoad = 0.05;

constexpr double kSpeedStepsPerOctave = 2;

double Median(std::vector<double> values) {
  if (values.empty()) return 1;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

bool Known(double speed) { return std::isfinite(speed) && speed > 0; }

}  // namespace

std::vector<double> RelativeSpeeds(const std::vector<Host>& hosts) {
  std::vector<double> known;
  for (const Host& host : hosts) {
    if (Known(host.speed)) known.push_back(host.speed);
  }
  const double median = Median(known);
  std::vector<double> speeds;
  for (const Host& host : hosts) {
    const double ratio = Known(host.speed) ? host.speed / median : 1;
    speeds.push_back(
        std::exp2(std::round(std::log2(ratio) * kSpeedStepsPerOctave) / kSpeedStepsPerOctave));
  }
  return speeds;
}

std::vector<int64_t> ReplicaLoads(const PlacementInput& input) {
  const size_t experts = input.experts_per_layer;
  std::vector<int64_t> loads(size_t{input.layers} * experts, kMeanLoad);
  if (input.load.size() != loads.size()) return loads;
  for (size_t layer = 0; layer < input.layers; ++layer) {
    const double* rows = input.load.data() + layer * experts;
    const double mean = std::accumulate(rows, rows + experts, 0.0) / static_cast<double>(experts);
    if (!std::isfinite(mean) || mean < kFewRowsPerExpert) continue;
    for (size_t e = 0; e < experts; ++e) {
      const double share = std::max(rows[e] / mean, kLeastLoad);
      loads[layer * experts + e] = std::llround(share * static_cast<double>(kMeanLoad));
    }
  }
  return loads;
}

}  // namespace switchyard::placement
