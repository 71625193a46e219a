#pragma once

// How a Mixture-of-Experts router chooses, weighs, drops and is balanced: a value of knobs. A named
// convention sets them all (docs/routing.md); take a copy and override what a checkpoint's config
// says differently.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/router/capacity.h"

namespace switchyard::kernels {

inline constexpr int64_t kMaxRouterExperts = 4096;
inline constexpr int64_t kMaxRouterChoices = 64;

enum class Selection : uint8_t {
  kTopK,           // the k best scores, of the best groups where there are groups
  kSparseMixer,    // Phi-3.5: arg-max twice, each a softmax over the logits near the maximum
  kNoisyTopK,      // Shazeer 2017: top-k of logits + noise * (softplus(noise logits) + epsilon)
  kSampledSecond,  // DeepSpeed top-2: arg-max, then the arg-max of the others of logits + Gumbel
  kExpertChoice    // experts choose tokens: ExpertChoice() only, Route() refuses it
};

// What a weight is before normalisation.
enum class Scoring : uint8_t {
  kSoftmax,          // of all logits of the row
  kSoftmaxOfChosen,  // of the k chosen logits
  kSigmoid           // of the logit
};

// Score of a group of consecutive experts.
enum class GroupScore : uint8_t { kMax, kTop2Sum };

// Scores of the groups that lost. Zero beats a negative biased score, so the two choose differently
// with a correction bias; with softmax they are the same.
enum class MaskedFill : uint8_t { kNegativeInfinity, kZero };

// Division of the k weights by their sum: max(sum, norm_floor) + norm_added.
enum class Normalization : uint8_t { kNone, kChosen /* before drops */, kKept /* after drops */ };

// Rows that count capacity together.
enum class CapacityScope : uint8_t {
  kBatch,     // all rows of the call
  kSequence,  // each range of RouterArgs::sequences
  kGroup      // `group_rows` consecutive rows
};

// Who takes an expert's slots first.
enum class DropOrder : uint8_t {
  kChoiceMajor,  // first choices of all tokens, then second choices, ...
  kTokenMajor,   // tokens in order, with all their choices
  kProbability,  // largest weight first, the earliest token among equals
  kRandom        // tokens in the order of RouterArgs::permutation, with all their choices
};

// Whether the second of two experts is sent at all; g2 is its normalised weight.
enum class SecondPolicy : uint8_t {
  kAll,
  kNone,
  kThreshold,  // g2 > threshold
  kRandom      // uniform < g2 / threshold
};

struct SecondExpert {
  SecondPolicy policy = SecondPolicy::kAll;
  float threshold = 0.5f;
  bool unsent_takes_slot = false;  // GShard's Algorithm 1 counts it all the same
};

enum class LossProbability : uint8_t { kSoftmax, kSigmoidShare /* s_i / sum of s */ };
enum class LossCount : uint8_t {
  kFirstChoice,
  kEveryChoice,
  kTopScores  // the top-k of the scores without bias and groups, whatever was chosen
};
enum class LossScope : uint8_t { kBatch, kSequence /* mean over the sequences */ };
enum class LossScale : uint8_t { kExperts, kExpertsPerChoice /* E/K */, kInverseExperts };
enum class LossUnit : uint8_t { kExpert, kDevice, kCommunication };

// coefficient * scale * sum over units of (share of the counts) * (mean probability): losses.h.
struct BalanceLoss {
  float coefficient = 0.0f;
  LossScale scale = LossScale::kExperts;
  LossCount count = LossCount::kEveryChoice;
  LossProbability probability = LossProbability::kSoftmax;
  LossScope scope = LossScope::kBatch;
  LossUnit unit = LossUnit::kExpert;
  bool per_layer = false;  // MegaBlocks divides by the number of layers
};

struct RouterConvention {
  std::string_view name = "custom";
  int64_t required_k = 0;  // 0: any

  Selection selection = Selection::kTopK;
  Scoring scoring = Scoring::kSoftmax;
  int64_t groups = 1;  // of consecutive experts; the best `kept_groups` of them stay
  int64_t kept_groups = 1;
  GroupScore group_score = GroupScore::kMax;
  MaskedFill masked_fill = MaskedFill::kNegativeInfinity;
  bool correction_bias = false;  // chooses on score + bias; weights stay without it (kSigmoid)
  float mixer_jitter = 0.01f;    // kSparseMixer keeps logits within 2 * mixer_jitter
  float noise_epsilon = 0.0f;    // kNoisyTopK

  Normalization normalization = Normalization::kNone;
  float norm_floor = 0.0f;
  float norm_added = 0.0f;
  float scale = 1.0f;  // of all weights, last (routed_scaling_factor)

  CapacityRule capacity;
  CapacityScope capacity_scope = CapacityScope::kBatch;
  int64_t group_rows = 1024;
  DropOrder drop_order = DropOrder::kChoiceMajor;
  SecondExpert second;

  // Training.
  BalanceLoss balance;
  float z_coefficient = 0.0f;           // mean of logsumexp^2
  float importance_coefficient = 0.0f;  // CV^2 of the importance (kNoisyTopK)
  float load_coefficient = 0.0f;        // CV^2 of the smooth load (kNoisyTopK)
  float bias_step = 0.0f;               // gamma of the correction bias update
  bool center_bias_step = false;        // torchtitan subtracts the mean of the step
  float input_jitter = 0.0f;            // training input times U(1 - jitter, 1 + jitter)
};

// A named convention, or InvalidArgument with the names there are.
absl::StatusOr<RouterConvention> FindConvention(std::string_view name);
std::vector<std::string> ConventionNames();

// A named balance loss with coefficient 1 ("switch", "megatron_seq", "deepseek_v3_seq", ...).
absl::StatusOr<BalanceLoss> FindBalanceLoss(std::string_view name);

// Whether Route() can run this convention with `experts` and `k`; meant for load time.
absl::Status CheckConvention(const RouterConvention& convention, int64_t experts, int64_t k);

}  // namespace switchyard::kernels
