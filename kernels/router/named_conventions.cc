#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/router/convention.h"

namespace switchyard::kernels {
namespace {

constexpr float kFloatEpsilon = std::numeric_limits<float>::epsilon();

struct NamedLoss {
  std::string_view name;
  BalanceLoss loss;
};

constexpr BalanceLoss FirstChoices(LossScale scale) {
  return {.coefficient = 1.0f, .scale = scale, .count = LossCount::kFirstChoice};
}
constexpr BalanceLoss EveryChoice(LossScale scale, LossScope scope = LossScope::kBatch) {
  return {.coefficient = 1.0f, .scale = scale, .scope = scope};
}
constexpr BalanceLoss PerDevice(LossUnit unit) {
  BalanceLoss loss = EveryChoice(LossScale::kExpertsPerChoice);
  loss.unit = unit;
  return loss;
}
constexpr BalanceLoss OfSigmoid(LossScope scope) {
  return {.coefficient = 1.0f,
          .scale = LossScale::kExpertsPerChoice,
          .count = LossCount::kTopScores,
          .probability = LossProbability::kSigmoidShare,
          .scope = scope};
}
constexpr BalanceLoss PerLayer() {
  BalanceLoss loss = EveryChoice(LossScale::kExpertsPerChoice);
  loss.per_layer = true;
  return loss;
}

constexpr BalanceLoss kSwitchLoss = FirstChoices(LossScale::kExperts);
constexpr BalanceLoss kGshardLoss = FirstChoices(LossScale::kInverseExperts);
constexpr BalanceLoss kMixtralLoss = EveryChoice(LossScale::kExperts);
constexpr BalanceLoss kMegatronLoss = EveryChoice(LossScale::kExpertsPerChoice);
constexpr BalanceLoss kSequenceLoss =
    EveryChoice(LossScale::kExpertsPerChoice, LossScope::kSequence);

constexpr NamedLoss kLosses[] = {
    {"switch", kSwitchLoss},
    {"gshard", kGshardLoss},
    {"mesh_tensorflow", kSwitchLoss},  // mean(f P) * E^2
    {"transformers_mixtral", kMixtralLoss},
    {"megatron", kMegatronLoss},
    {"megatron_seq", kSequenceLoss},
    {"megatron_global", kMegatronLoss},  // with LossArgs::counts of all ranks
    {"megatron_sigmoid", OfSigmoid(LossScope::kBatch)},
    {"megablocks", PerLayer()},
    {"deepspeed_topk", kMegatronLoss},  // mean(me * ce) * E * E / K
    {"deepspeed_top2", kSwitchLoss},
    {"tutel", kSwitchLoss},
    {"deepseek_v2_seq", kSequenceLoss},
    {"deepseek_v2_batch", kMegatronLoss},
    {"deepseek_v2_device", PerDevice(LossUnit::kDevice)},
    {"deepseek_v2_communication", PerDevice(LossUnit::kCommunication)},
    {"deepseek_v3_seq", OfSigmoid(LossScope::kSequence)},
};

constexpr BalanceLoss Times(BalanceLoss loss, float coefficient) {
  loss.coefficient = coefficient;
  return loss;
}

// Transformers' models with softmax over all experts; the hub's config sets normalization by
// norm_topk_prob.
constexpr RouterConvention SoftmaxTopK(std::string_view name, Normalization normalization) {
  return {.name = name, .normalization = normalization, .balance = Times(kMixtralLoss, 1e-3f)};
}

// The config sets groups, kept_groups and scale; `greedy` (the lite model) is one group.
constexpr RouterConvention DeepseekV2(std::string_view name, int64_t groups, int64_t kept,
                                      float scale) {
  return {.name = name,
          .groups = groups,
          .kept_groups = kept,
          .group_score = GroupScore::kMax,
          .masked_fill = MaskedFill::kZero,
          .scale = scale,
          .balance = Times(kSequenceLoss, 1e-3f)};
}

// The config sets groups, kept_groups, scale, and kNone where norm_topk_prob is false.
constexpr RouterConvention DeepseekV3(std::string_view name, int64_t groups, int64_t kept) {
  return {.name = name,
          .scoring = Scoring::kSigmoid,
          .groups = groups,
          .kept_groups = kept,
          .group_score = GroupScore::kTop2Sum,
          .masked_fill = MaskedFill::kNegativeInfinity,
          .correction_bias = true,
          .normalization = Normalization::kChosen,
          .norm_added = 1e-20f,
          .scale = groups > 1 ? 2.5f : 1.0f,
          .balance = Times(OfSigmoid(LossScope::kSequence), 1e-4f),
          .bias_step = 1e-3f};
}

constexpr RouterConvention DeepseekV3ZeroFill() {
  RouterConvention convention = DeepseekV3("deepseek-v3-zero-fill", 8, 4);
  convention.masked_fill = MaskedFill::kZero;
  return convention;
}

constexpr RouterConvention GptOss() {
  return {.name = "gpt-oss",
          .scoring = Scoring::kSoftmaxOfChosen,
          .balance = Times(kMixtralLoss, 1e-3f)};
}

// The config sets mixer_jitter (router_jitter_noise) and, to train, input_jitter.
constexpr RouterConvention Phimoe() {
  return {.name = "phimoe",
          .required_k = 2,
          .selection = Selection::kSparseMixer,
          .mixer_jitter = 0.01f,
          .balance = Times(kMixtralLoss, 1e-3f)};
}

constexpr RouterConvention Switch(std::string_view name, CapacityRule capacity,
                                  CapacityScope scope) {
  return {.name = name,
          .required_k = 1,
          .capacity = capacity,
          .capacity_scope = scope,
          .balance = Times(kSwitchLoss, 1e-2f),
          .z_coefficient = 1e-3f,
          .input_jitter = 1e-2f};
}

constexpr RouterConvention Gshard(std::string_view name, SecondExpert second, BalanceLoss balance) {
  return {.name = name,
          .required_k = 2,
          .normalization = Normalization::kChosen,
          .capacity = {.formula = CapacityFormula::kSwitch, .factor = 2.0},
          .drop_order = DropOrder::kChoiceMajor,
          .second = second,
          .balance = Times(balance, 1e-2f)};
}

// Gated as GShard with every second expert sent; ceil(2T/E * factor) of a sequence, 1 at least.
constexpr RouterConvention Glam() {
  RouterConvention convention = Gshard("glam", {}, kSwitchLoss);
  convention.capacity = {.formula = CapacityFormula::kMegatron, .factor = 1.0, .minimum = 1};
  convention.capacity_scope = CapacityScope::kSequence;
  return convention;
}

// Capacity as in training; Mesh-TensorFlow evaluates with a factor of 2.0.
constexpr RouterConvention Mesh() {
  RouterConvention convention =
      Gshard("mesh", {.policy = SecondPolicy::kRandom, .threshold = 0.2f}, kSwitchLoss);
  convention.capacity = {.formula = CapacityFormula::kMesh, .factor = 1.25};
  convention.capacity_scope = CapacityScope::kGroup;
  convention.group_rows = 1024;
  // Its 1e-3 is multiplied by the coefficient of the balance loss.
  convention.z_coefficient = 1e-5f;
  return convention;
}

// Without a capacity factor Megatron-LM drops nothing.
constexpr RouterConvention Megatron(std::string_view name, Scoring scoring) {
  const bool sigmoid = scoring == Scoring::kSigmoid;
  return {.name = name,
          .scoring = scoring,
          .normalization = sigmoid ? Normalization::kChosen : Normalization::kNone,
          .norm_added = sigmoid ? 1e-20f : 0.0f,
          .capacity = {.formula = CapacityFormula::kMegatron, .factor = 0.0},
          .drop_order = DropOrder::kProbability,
          .balance = Times(sigmoid ? OfSigmoid(LossScope::kBatch) : kMegatronLoss, 1e-2f),
          .z_coefficient = 1e-3f};
}

constexpr RouterConvention Deepspeed(std::string_view name, int64_t k, Selection selection,
                                     Normalization normalization, DropOrder order,
                                     BalanceLoss balance) {
  return {.name = name,
          .required_k = k,
          .selection = selection,
          .normalization = normalization,
          .norm_floor = kFloatEpsilon,
          .capacity = {.formula = CapacityFormula::kDeepSpeed, .factor = 1.0},
          .drop_order = order,
          .balance = Times(balance, 1e-2f)};
}

constexpr RouterConvention Tutel() {
  return {.name = "tutel",
          .normalization = Normalization::kChosen,
          .norm_floor = kFloatEpsilon,
          .capacity = {.formula = CapacityFormula::kTutel, .factor = 1.0},
          .drop_order = DropOrder::kChoiceMajor,
          .balance = Times(kSwitchLoss, 1e-2f)};
}

// Its dropless dMoE is this with capacity.factor 0.
constexpr RouterConvention Megablocks() {
  return {.name = "megablocks",
          .capacity = {.formula = CapacityFormula::kMegablocks, .factor = 1.0},
          .drop_order = DropOrder::kTokenMajor,
          .balance = Times(PerLayer(), 0.1f)};
}

constexpr RouterConvention NoisyTopK() {
  return {.name = "noisy-topk",
          .selection = Selection::kNoisyTopK,
          .scoring = Scoring::kSoftmaxOfChosen,
          .importance_coefficient = 0.1f,
          .load_coefficient = 0.1f};
}

constexpr RouterConvention kConventions[] = {
    SoftmaxTopK("mixtral", Normalization::kChosen),
    SoftmaxTopK("qwen2-moe", Normalization::kNone),
    SoftmaxTopK("qwen3-moe", Normalization::kChosen),
    SoftmaxTopK("olmoe", Normalization::kNone),
    DeepseekV2("deepseek-v2", 8, 3, 16.0f),
    DeepseekV2("deepseek-v2-lite", 1, 1, 1.0f),
    DeepseekV3("deepseek-v3", 8, 4),
    DeepseekV3ZeroFill(),
    DeepseekV3("glm4-moe", 1, 1),
    GptOss(),
    Phimoe(),
    Switch("switch", {.formula = CapacityFormula::kFixed, .fixed = 64}, CapacityScope::kSequence),
    Switch("switch-paper", {.formula = CapacityFormula::kSwitch, .factor = 1.25},
           CapacityScope::kBatch),
    Gshard("gshard",
           {.policy = SecondPolicy::kRandom, .threshold = 0.5f, .unsent_takes_slot = true},
           kGshardLoss),
    Glam(),
    Mesh(),
    Megatron("megatron", Scoring::kSoftmaxOfChosen),
    Megatron("megatron-sigmoid", Scoring::kSigmoid),
    Deepspeed("deepspeed", 2, Selection::kSampledSecond, Normalization::kKept,
              DropOrder::kChoiceMajor, kSwitchLoss),
    Deepspeed("deepspeed-top1", 1, Selection::kTopK, Normalization::kNone, DropOrder::kRandom,
              kSwitchLoss),
    Deepspeed("deepspeed-topk", 0, Selection::kTopK, Normalization::kKept, DropOrder::kProbability,
              kMegatronLoss),
    Tutel(),
    Megablocks(),
    NoisyTopK(),
    {.name = "expert-choice", .selection = Selection::kExpertChoice},
};

}  // namespace

absl::StatusOr<RouterConvention> FindConvention(std::string_view name) {
  for (const RouterConvention& convention : kConventions) {
    if (convention.name == name) return convention;
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown router convention '", std::string(name),
                                                 "'; there are ",
                                                 absl::StrJoin(ConventionNames(), ", ")));
}

std::vector<std::string> ConventionNames() {
  std::vector<std::string> names;
  for (const RouterConvention& convention : kConventions) names.emplace_back(convention.name);
  return names;
}

absl::StatusOr<BalanceLoss> FindBalanceLoss(std::string_view name) {
  for (const NamedLoss& named : kLosses) {
    if (named.name == name) return named.loss;
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown balance loss '", std::string(name), "'"));
}

}  // namespace switchyard::kernels
