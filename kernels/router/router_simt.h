#pragma once

// Routing for GPUs: a block a row chooses and weighs; the host then drops, as on the CPU.

#include <span>

#include "absl/status/status.h"
#include "kernels/base/thread_pool.h"
#include "kernels/router/groups.h"
#include "kernels/router/route_steps.h"
#include "kernels/router/router.h"
#include "kernels/router/sparse_mixer.h"
#include "kernels/router/weigh.h"
#include "kernels/simt/math.h"

namespace switchyard::kernels::simt {

struct RouteKernel {
  static constexpr int kThreads = 128;
  static constexpr float kInfinity = __builtin_inff();
  struct Shared {
    float keys[kMaxRouterExperts];  // the experts with the k largest are chosen
    float group_scores[kMaxRouterExperts];
    float max[kThreads];  // of the logits that a thread has seen; NaN when one has no answer
    float row_max;        // likewise of the row
    float lanes[2][16];   // sums of exponentials
    int32_t ids[kMaxRouterChoices];
    float weights[kMaxRouterChoices];
  };
  RouterConvention convention;
  const float* logits;
  const float* bias;
  int64_t experts;
  int64_t k;
  int32_t* ids;
  float* weights;
  uint8_t* failed;

  SWITCHYARD_SIMT int64_t Phases(int64_t) const { return 8; }

  SWITCHYARD_SIMT void Run(int64_t phase, int64_t row, int thread, Shared& shared) const {
    const float* const x = logits + row * experts;
    if (phase == 0) return SetKeys(x, thread, shared);
    if (phase == 1) {
      if (thread == 0) JoinMax(shared);
      return;
    }
    const bool has_answer = shared.row_max == shared.row_max;
    if (phase == 7) {
      if (thread == 0) Write(row, has_answer, shared);
      return;
    }
    if (!has_answer) return;
    if (phase == 2 && IsLimited()) ScoreGroups(thread, shared);
    if (phase == 3 && IsLimited()) MaskGroups(thread, shared);
    if (phase == 4) Select(thread, shared);
    if (phase == 5 && thread < 32) SumLane(x, thread / 16, thread % 16, shared);
    if (phase == 6 && thread < k) shared.weights[thread] = WeightOf(x, thread, shared);
  }

  SWITCHYARD_SIMT bool IsLimited() const { return convention.kept_groups < convention.groups; }

  // The keys, and the maximum of the logits.
  SWITCHYARD_SIMT void SetKeys(const float* x, int thread, Shared& shared) const {
    float max = -kInfinity;
    bool valid = true;
    for (int64_t i = thread; i < experts; i += kThreads) {
      valid &= x[i] < kInfinity;  // false for NaN too
      max = x[i] > max ? x[i] : max;
      float key = x[i];
      if (convention.scoring == Scoring::kSigmoid) {
        key = Sigmoid(key);
        if (convention.correction_bias) key += bias[i];
        valid &= -kInfinity < key && key < kInfinity;  // or the bias is broken
      }
      shared.keys[i] = key;
    }
    shared.max[thread] = valid ? max : __builtin_nanf("");
  }

  SWITCHYARD_SIMT void JoinMax(Shared& shared) const {
    float max = -kInfinity;
    bool valid = true;
    for (int i = 0; i < kThreads; ++i) {
      valid &= shared.max[i] == shared.max[i];
      max = shared.max[i] > max ? shared.max[i] : max;
    }
    shared.row_max = valid && max > -kInfinity ? max : __builtin_nanf("");
  }

  SWITCHYARD_SIMT void ScoreGroups(int thread, Shared& shared) const {
    const int64_t size = experts / convention.groups;
    for (int64_t g = thread; g < convention.groups; g += kThreads) {
      shared.group_scores[g] = ScoreOfGroup(convention.group_score, shared.keys + g * size, size);
    }
  }

  SWITCHYARD_SIMT void MaskGroups(int thread, Shared& shared) const {
    const int64_t size = experts / convention.groups;
    for (int64_t i = thread; i < experts; i += kThreads) {
      const int64_t place = Place(shared.group_scores, convention.groups, i / size);
      if (place >= convention.kept_groups) shared.keys[i] = MaskedKey(convention);
    }
  }

  SWITCHYARD_SIMT void Select(int thread, Shared& shared) const {
    for (int64_t i = thread; i < experts; i += kThreads) {
      const int64_t place = Place(shared.keys, experts, i);
      if (place < k) shared.ids[place] = static_cast<int32_t>(i);
    }
  }

  // How many stand before `index` in the order (value descending, index ascending).
  SWITCHYARD_SIMT static int64_t Place(const float* values, int64_t count, int64_t index) {
    const float value = values[index];
    int64_t place = 0;
    for (int64_t i = 0; i < count; ++i) {
      place += values[i] > value || (values[i] == value && i < index);
    }
    return place;
  }

  // One lane of the sum of exponentials that the weight of choice `rank` is divided by: the same
  // for all but in the sparse mixer.
  SWITCHYARD_SIMT void SumLane(const float* x, int rank, int lane, Shared& shared) const {
    const bool mixer = convention.selection == Selection::kSparseMixer;
    if (rank > 0 && !mixer) return;
    const float max = rank == 0 ? shared.row_max : x[shared.ids[1]];
    float sum = 0.0f;
    for (int64_t i = lane; i < experts; i += 16) {
      if (mixer && rank == 1 && i == shared.ids[0]) continue;
      if (mixer && IsMaskedByMixer(x[i], max, 2.0f * convention.mixer_jitter)) continue;
      sum += Exp(x[i] - max);
    }
    shared.lanes[rank][lane] = sum;
  }

  // Before normalisation.
  SWITCHYARD_SIMT float WeightOf(const float* x, int rank, const Shared& shared) const {
    const float logit = x[shared.ids[rank]];
    if (convention.selection == Selection::kSparseMixer) {
      return logit > -kInfinity ? 1.0f / JoinLanes(shared.lanes[rank]) : 0.0f;
    }
    switch (convention.scoring) {
      case Scoring::kSigmoid:
        return Sigmoid(logit);
      case Scoring::kSoftmaxOfChosen:
        return Exp(logit - shared.row_max);
      case Scoring::kSoftmax:
        break;
    }
    // One of a masked group is chosen only where the kept ones have nothing but -inf left.
    if (shared.keys[shared.ids[rank]] == -kInfinity) return 0.0f;
    return Exp(logit - shared.row_max) / JoinLanes(shared.lanes[0]);
  }

  SWITCHYARD_SIMT void Write(int64_t row, bool has_answer, Shared& shared) const {
    failed[row] = !has_answer;
    if (has_answer) {
      if (convention.scoring == Scoring::kSoftmaxOfChosen) {
        DivideBySum(shared.weights, k, /*floor=*/0.0f, /*added=*/0.0f);
      }
      Weigh(convention, k, shared.weights);
    }
    for (int64_t r = 0; r < k; ++r) {
      ids[row * k + r] = has_answer ? shared.ids[r] : -1;
      weights[row * k + r] = has_answer ? shared.weights[r] : 0.0f;
    }
  }
};

// `pool`: the host's threads.
template <typename Launch>
absl::Status Route(const RouterArgs& args, Launch& launch, ThreadPool& pool) {
  if (absl::Status status = CheckRouterArgs(args); !status.ok()) return status;
  if (args.rows == 0) return absl::OkStatus();
  // Noise is for training and evaluation alone: the host takes what has it.
  if (args.noise != nullptr || args.gumbel != nullptr) {
    if (absl::Status status = launch.Finish(); !status.ok()) return status;
    return kernels::Route(args, pool);
  }
  const int64_t choices = args.rows * args.k;
  int32_t* const ids = launch.template Scratch<int32_t>(choices);
  float* const weights = launch.template Scratch<float>(choices);
  uint8_t* const failed = launch.template Scratch<uint8_t>(args.rows);
  launch(RouteKernel{.convention = *args.convention,
                     .logits = args.logits,
                     .bias = args.bias,
                     .experts = args.experts,
                     .k = args.k,
                     .ids = ids,
                     .weights = weights,
                     .failed = failed},
         args.rows);
  launch.Fetch(ids, std::span(args.ids, choices));
  launch.Fetch(weights, std::span(args.weights, choices));
  launch.Fetch(failed, std::span(args.failed, args.rows));
  // What a device that failed has left is no choice.
  if (absl::Status status = launch.Finish(); !status.ok()) return status;
  DropChoices(args);
  return absl::OkStatus();
}

}  // namespace switchyard::kernels::simt
