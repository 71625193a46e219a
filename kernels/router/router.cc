#include "kernels/router/router.h"

#include <algorithm>
#include <limits>

#include "kernels/base/lane_sum.h"
#include "kernels/base/math.h"

namespace switchyard::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Row {
  const float* logits;
  int32_t* ids;
  float* weights;
};

Row RowOf(const SoftmaxTopKArgs& args, int64_t row) {
  return {args.logits + row * args.experts, args.ids + row * args.k, args.weights + row * args.k};
}

// The maximum, or NaN when the row has no answer.
float MaxOrNan(const float* logits, int64_t experts) {
  float max = -kInfinity;
  bool valid = true;
  for (int64_t i = 0; i < experts; ++i) {
    valid &= logits[i] < kInfinity;  // false for NaN too
    max = logits[i] > max ? logits[i] : max;
  }
  return valid && max > -kInfinity ? max : std::numeric_limits<float>::quiet_NaN();
}

// Insertion into a list of the k best so far. Ascending ids and a strict comparison leave the
// lowest id first among equals.
void SelectLargest(const float* logits, int64_t experts, int64_t k, int32_t* ids) {
  int64_t held = 0;
  for (int64_t i = 0; i < experts; ++i) {
    if (held == k && !(logits[i] > logits[ids[k - 1]])) continue;
    int64_t place = held < k ? held++ : k - 1;
    for (; place > 0 && logits[i] > logits[ids[place - 1]]; --place) ids[place] = ids[place - 1];
    ids[place] = static_cast<int32_t>(i);
  }
}

void Fail(const Row& row, int64_t k) {
  std::fill_n(row.ids, k, -1);
  std::fill_n(row.weights, k, 0.0f);
}

// From the chosen ids to their weights.
void SetWeights(const SoftmaxTopKArgs& args, const Row& row, float max, float total) {
  for (int64_t r = 0; r < args.k; ++r) {
    row.weights[r] = Exp(row.logits[row.ids[r]] - max) / total;
  }
  if (!args.renormalize) return;
  LaneSum chosen;
  for (int64_t r = 0; r < args.k; ++r) chosen.Add(r, row.weights[r]);
  const float sum = chosen.Total();
  for (int64_t r = 0; r < args.k; ++r) row.weights[r] /= sum;
}

bool RouteRow(const SoftmaxTopKArgs& args, const Row& row) {
  const float max = MaxOrNan(row.logits, args.experts);
  if (max != max) return false;
  LaneSum total;
  for (int64_t i = 0; i < args.experts; ++i) total.Add(i, Exp(row.logits[i] - max));
  SelectLargest(row.logits, args.experts, args.k, row.ids);
  SetWeights(args, row, max, total.Total());
  return true;
}

}  // namespace

void SoftmaxTopK(const SoftmaxTopKArgs& args, ThreadPool& pool) {
  constexpr int64_t kRowsPerTile = 16;
  pool.ParallelFor((args.rows + kRowsPerTile - 1) / kRowsPerTile, [&](int64_t tile, int) {
    const int64_t end = std::min((tile + 1) * kRowsPerTile, args.rows);
    for (int64_t r = tile * kRowsPerTile; r < end; ++r) {
      const Row row = RowOf(args, r);
      args.failed[r] = !RouteRow(args, row);
      if (args.failed[r]) Fail(row, args.k);
    }
  });
}

}  // namespace switchyard::kernels
