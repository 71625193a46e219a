#include "kernels/router/losses.h"

#include <algorithm>
#include <vector>

#include "kernels/base/lane_sum.h"
#include "kernels/base/math.h"
#include "kernels/base/thread_pool.h"
#include "kernels/router/selection.h"
#include "kernels/router/weigh.h"

namespace switchyard::kernels {
namespace {

// Counts and probabilities of some rows, summed.
class Tally {
 public:
  Tally(const BalanceLoss& loss, const LossArgs& args)
      : loss_(loss),
        args_(args),
        counts_(static_cast<size_t>(args.experts)),
        tokens_(static_cast<size_t>(args.devices)),
        mass_(static_cast<size_t>(args.experts)),
        probability_(static_cast<size_t>(args.experts)) {}

  void Add(RowRange range) {
    for (int64_t row = range.begin; row < range.end; ++row) AddRow(row);
  }

  // Without coefficient; 0 without rows.
  float Value() const {
    if (rows_ == 0) return 0.0f;
    const float k = static_cast<float>(args_.k), experts = static_cast<float>(args_.experts);
    switch (loss_.unit) {
      case LossUnit::kCommunication:
        return DeviceSum() * static_cast<float>(args_.devices) /
               static_cast<float>(args_.device_limit);
      case LossUnit::kDevice:
        return DeviceSum() * Scale(experts, k);
      case LossUnit::kExpert:
        break;
    }
    LaneSum sum;
    for (int64_t i = 0; i < args_.experts; ++i) sum.Add(i, Share(i) * Mean(i));
    return sum.Total() * Scale(experts, k);
  }

  bool empty() const { return rows_ == 0; }

 private:
  void AddRow(int64_t row) {
    const float* logits = args_.logits + row * args_.experts;
    if (!SetProbabilities(logits)) return;
    for (int64_t i = 0; i < args_.experts; ++i) mass_[i].Add(rows_, probability_[i]);
    ++rows_;
    if (loss_.count != LossCount::kTopScores) return Count(args_.chosen + row * args_.k);
    int32_t ids[kMaxRouterChoices];
    const bool sigmoid = loss_.probability == LossProbability::kSigmoidShare;
    if (sigmoid) {
      // The score itself, not its share: that is how the router sees it.
      std::transform(logits, logits + args_.experts, probability_.begin(), Sigmoid);
    }
    SelectLargest(sigmoid ? probability_.data() : logits, args_.experts, args_.k, ids);
    Count(ids);
  }

  bool SetProbabilities(const float* logits) {
    if (loss_.probability == LossProbability::kSoftmax) {
      return Softmax(logits, args_.experts, probability_.data());
    }
    const float max = MaxOrNan(logits, args_.experts);
    if (max != max) return false;
    std::transform(logits, logits + args_.experts, probability_.begin(), Sigmoid);
    DivideBySum(probability_.data(), args_.experts, /*floor=*/0.0f, /*added=*/1e-20f);
    return true;
  }

  void Count(const int32_t* ids) {
    const int64_t counted = loss_.count == LossCount::kFirstChoice ? 1 : args_.k;
    for (int64_t r = 0; r < counted; ++r) {
      if (ids[r] < 0) continue;
      ++counts_[ids[r]];
      const int64_t device = DeviceOf(ids[r]);
      const bool again = std::any_of(ids, ids + r, [&](int32_t earlier) {
        return earlier >= 0 && DeviceOf(earlier) == device;
      });
      tokens_[device] += again ? 0 : 1;
    }
  }

  int64_t DeviceOf(int64_t expert) const { return expert * args_.devices / args_.experts; }

  float Scale(float experts, float k) const {
    switch (loss_.scale) {
      case LossScale::kExperts:
        return experts;
      case LossScale::kExpertsPerChoice:
        return experts / k;
      case LossScale::kInverseExperts:
        return 1.0f / experts;
    }
    return 0.0f;
  }

  float Rows() const {
    return static_cast<float>(args_.counts == nullptr ? rows_ : args_.count_rows);
  }
  float Share(int64_t expert) const {
    const int64_t count = args_.counts == nullptr ? counts_[expert] : args_.counts[expert];
    return static_cast<float>(count) / Rows();
  }
  float Mean(int64_t expert) const { return mass_[expert].Total() / Rows(); }

  float DeviceSum() const {
    const int64_t size = args_.experts / args_.devices;
    LaneSum sum;
    for (int64_t d = 0; d < args_.devices; ++d) {
      LaneSum share, mean;
      for (int64_t i = 0; i < size; ++i) {
        share.Add(i, Share(d * size + i));
        mean.Add(i, Mean(d * size + i));
      }
      const float f = loss_.unit == LossUnit::kDevice ? share.Total() / static_cast<float>(size)
                                                      : static_cast<float>(tokens_[d]) / Rows();
      sum.Add(d, f * mean.Total());
    }
    return sum.Total();
  }

  const BalanceLoss& loss_;
  const LossArgs& args_;
  int64_t rows_ = 0;
  std::vector<int64_t> counts_;     // [experts]
  std::vector<int64_t> tokens_;     // [devices], tokens that go there
  std::vector<LaneSum> mass_;       // [experts]
  std::vector<float> probability_;  // [experts], of the current row
};

}  // namespace

float BalanceLossValue(const BalanceLoss& loss, const LossArgs& args) {
  SetComputeThreadFloatMode();
  const RowRange all = {0, args.rows};
  std::span<const RowRange> ranges = {&all, 1};
  if (loss.scope == LossScope::kSequence && !args.sequences.empty()) ranges = args.sequences;
  LaneSum values;
  int64_t count = 0;
  for (const RowRange& range : ranges) {
    Tally tally(loss, args);
    tally.Add(range);
    if (!tally.empty()) values.Add(count++, tally.Value());
  }
  if (count == 0) return 0.0f;
  const float mean = values.Total() / static_cast<float>(count);
  const float layers = loss.per_layer ? static_cast<float>(args.layers) : 1.0f;
  return loss.coefficient * mean / layers;
}

float ZLoss(const LossArgs& args) {
  SetComputeThreadFloatMode();
  LaneSum sum;
  int64_t count = 0;
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* logits = args.logits + row * args.experts;
    const float max = MaxOrNan(logits, args.experts);
    if (max != max) continue;
    const float log_sum = max + Log(SumExp(logits, args.experts, max));
    sum.Add(count++, log_sum * log_sum);
  }
  return count == 0 ? 0.0f : sum.Total() / static_cast<float>(count);
}

float RouterLoss(const RouterConvention& convention, const LossArgs& args) {
  const float balance =
      convention.balance.coefficient == 0.0f ? 0.0f : BalanceLossValue(convention.balance, args);
  const float z = convention.z_coefficient == 0.0f ? 0.0f : convention.z_coefficient * ZLoss(args);
  return balance + z;
}

}  // namespace switchyard::kernels
