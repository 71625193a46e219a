#include "kernels/router/router.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/router/choose_row.h"
#include "kernels/router/route_steps.h"
#include "kernels/router/slots.h"
#include "kernels/router/weigh.h"

namespace switchyard::kernels {
namespace {

ChooseRow ChooserOf(const RouterConvention& convention) {
  switch (convention.selection) {
    case Selection::kSparseMixer:
      return ChooseSparseMixer;
    case Selection::kNoisyTopK:
      return ChooseNoisyTopK;
    case Selection::kSampledSecond:
      return ChooseSampledSecond;
    case Selection::kTopK:
    case Selection::kExpertChoice:
      break;
  }
  if (convention.scoring == Scoring::kSoftmaxOfChosen) return ChooseTopKSoftmax;
  const bool plain = convention.scoring == Scoring::kSoftmax && convention.groups == 1;
  return plain ? ChooseSoftmaxTopK : ChooseGroupLimited;
}

void RouteRow(const RouterArgs& args, ChooseRow choose, int64_t index) {
  const RouterRow row = {index, args.logits + index * args.experts, args.ids + index * args.k,
                         args.weights + index * args.k};
  args.failed[index] = !choose(args, row);
  if (args.failed[index]) {
    std::fill_n(row.ids, args.k, -1);
    std::fill_n(row.weights, args.k, 0.0f);
    return;
  }
  Weigh(*args.convention, args.k, row.weights);
}

void RouteRows(const RouterArgs& args, ThreadPool& pool) {
  constexpr int64_t kRowsPerTile = 16;
  const ChooseRow choose = ChooserOf(*args.convention);
  pool.ParallelFor((args.rows + kRowsPerTile - 1) / kRowsPerTile, [&](int64_t tile, int) {
    const int64_t end = std::min((tile + 1) * kRowsPerTile, args.rows);
    for (int64_t r = tile * kRowsPerTile; r < end; ++r) RouteRow(args, choose, r);
  });
}

absl::Status Missing(const RouterArgs& args, const char* what) {
  return absl::InvalidArgumentError(
      absl::StrCat("router convention '", std::string(args.convention->name), "' needs ", what));
}

absl::Status CheckSequences(const RouterArgs& args) {
  int64_t next = 0;
  for (const RowRange& range : args.sequences) {
    if (range.begin != next || range.end < range.begin) {
      return absl::InvalidArgumentError(
          absl::StrCat("sequence of rows ", range.begin, " to ", range.end, " after row ", next));
    }
    next = range.end;
  }
  if (args.sequences.empty() || next == args.rows) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("sequences end at row ", next, " of ", args.rows));
}

absl::Status CheckInputs(const RouterArgs& args) {
  const RouterConvention& convention = *args.convention;
  if (args.rows < 0) return absl::InvalidArgumentError(absl::StrCat(args.rows, " rows"));
  if (args.rows == 0) return absl::OkStatus();
  if (!args.logits) return Missing(args, "logits");
  if (!args.ids || !args.weights || !args.failed) return Missing(args, "ids, weights and failed");
  if (convention.correction_bias && !args.bias) return Missing(args, "a correction bias");
  if (convention.second.policy == SecondPolicy::kRandom && !args.uniform) {
    return Missing(args, "uniform random numbers for the second expert");
  }
  if (args.noise && !args.noise_logits) return Missing(args, "noise_logits beside noise");
  return CheckSequences(args);
}

}  // namespace

absl::Status CheckRouterArgs(const RouterArgs& args) {
  if (args.convention == nullptr) return absl::InvalidArgumentError("no router convention");
  absl::Status status = CheckConvention(*args.convention, args.experts, args.k);
  if (status.ok()) status = CheckInputs(args);
  if (status.ok() && NeedsSlots(args)) status = CheckPermutation(args);
  return status;
}

void DropChoices(const RouterArgs& args) {
  if (args.chosen != nullptr) std::copy_n(args.ids, args.rows * args.k, args.chosen);
  if (NeedsSlots(args)) AssignSlots(args);
}

absl::Status Route(const RouterArgs& args, ThreadPool& pool) {
  if (absl::Status status = CheckRouterArgs(args); !status.ok()) return status;
  RouteRows(args, pool);
  DropChoices(args);
  return absl::OkStatus();
}

}  // namespace switchyard::kernels
