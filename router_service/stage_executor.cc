#include "router_service/stage_executor.h"

#include <utility>

#include "services/base/check.h"
#include "services/model/router_convention.h"
#include "services/runtime/device_work.h"

namespace switchyard::router {
namespace {

bool IsEncoder(const model::ModelSpec& spec, const model::StageWeights& weights) {
  return !spec.encoder_layers.empty() && weights.first_layer >= std::ssize(spec.layers);
}

// One past the last layer that has memory of its own in the cache.
int64_t KvEnd(const model::ModelSpec& spec, const model::StageWeights& weights) {
  return weights.first_layer + (IsEncoder(spec, weights) ? 1 : std::ssize(weights.layers));
}

// A scale of the logits is one of what the LM head reads.
void ScaleNorm(double scale, model::StageWeights& weights) {
  for (float& weight : weights.final_norm) weight *= static_cast<float>(scale);
  for (float& bias : weights.final_norm_bias) bias *= static_cast<float>(scale);
}

kernels::RouterConvention CheckedConvention(const model::RouterSpec& router, bool decode) {
  auto convention = model::ConventionOf(router, decode);
  CHECK(convention.ok()) << convention.status();  // the checkpoint's opening has seen to it
  return *std::move(convention);
}

}  // namespace

StageExecutor::StageExecutor(model::StageWeights weights, const model::ModelSpec& spec,
                             const kernels::RopeTable& rope, kernels::NumericsClass numerics,
                             int64_t kv_pages, kernels::Device& device,
                             ExpertDispatcher& dispatcher)
    : spec_(spec),
      wire_(kernels::WireType(numerics)),
      device_(device),
      dispatcher_(dispatcher),
      weights_(std::move(weights)),
      is_encoder_(IsEncoder(spec, weights_)),
      kv_(spec, weights_.first_layer, KvEnd(spec, weights_), numerics, kv_pages),
      attention_(spec, rope, numerics, device) {
  for (int64_t layer = first_layer(); layer < last_layer(); ++layer) {
    plans_.push_back(PlanOf(layer));
  }
  if (spec.logit_scale != 1 && !is_encoder_) ScaleNorm(spec.logit_scale, weights_);
  if (spec.positions == model::PositionKind::kSinusoidal && first_layer() == 0) {
    sinusoids_ = kernels::SinusoidalPositions(spec.max_positions, spec.hidden);
  }
}

StageExecutor::LayerPlan StageExecutor::PlanOf(int64_t layer) const {
  const model::LayerSpec& spec = spec_.Block(layer);
  LayerPlan plan;
  if (spec.ffn.router) {
    plan.full_pass = CheckedConvention(*spec.ffn.router, /*decode=*/false);
    plan.generation = CheckedConvention(*spec.ffn.router, /*decode=*/true);
  }
  if (const std::optional<model::RelativeBiasSpec>& relative = spec.attention.relative) {
    plan.relative_bias.emplace(kernels::RelativeBuckets{.buckets = relative->buckets,
                                                        .max_distance = relative->max_distance,
                                                        .bidirectional = !spec.attention.causal},
                               LayerWeights(layer).attention.relative_bias);
  }
  return plan;
}

void StageExecutor::Embed(MicroBatch& batch) {
  device_.Embedding({.table = weights_.embedding.data(),
                     .type = weights_.embedding_type,
                     .width = spec_.hidden,
                     .ids = batch.tokens().data(),
                     .rows = batch.rows(),
                     .output = batch.hidden()});
  const bool learned = spec_.positions == model::PositionKind::kLearned;
  if (!learned && spec_.positions != model::PositionKind::kSinusoidal) return;
  device_.AddPositions({.table = learned ? weights_.positions.data() : sinusoids_.data(),
                        .width = spec_.hidden,
                        .positions = batch.positions().data(),
                        .rows = batch.rows(),
                        .output = batch.hidden()});
}

StageProgress StageExecutor::Resume(MicroBatch& batch) {
  AddExperts(batch);
  EndLayer(batch, batch.layer);
  return RunFrom(batch, batch.layer + 1);
}

StageProgress StageExecutor::RunFrom(MicroBatch& batch, int64_t layer) {
  for (; layer < last_layer(); ++layer) {
    Attend(batch, layer);
    if (spec_.Block(layer).cross_attention) AttendCross(batch, layer);
    PrepareFfn(batch, layer);
    if (!spec_.Block(layer).ffn.router) {
      RunDense(batch, LayerWeights(layer).dense);
      AddProjected(batch);
    } else if (Dispatch(batch, layer)) {
      return StageProgress::kExpertsAway;
    }
    EndLayer(batch, layer);
  }
  return StageProgress::kDone;
}

const model::RouterLayerWeights& StageExecutor::LayerWeights(int64_t layer) const {
  return weights_.layers[layer - first_layer()];
}

void StageExecutor::Attend(MicroBatch& batch, int64_t layer) {
  const model::AttentionWeights& weights = LayerWeights(layer).attention;
  const Norm norm = {weights.norm, weights.norm_bias};
  if (spec_.post_norm) {
    HiddenToWire(batch);
  } else {
    Normalize(batch.hidden(), norm, batch.rows(), wire_, batch.wire_normed());
  }
  attention_.Run(batch, SelfAttention(layer));
  AddProjected(batch);
  if (spec_.post_norm) {
    Normalize(batch.hidden(), norm, batch.rows(), kernels::DType::kFloat32, batch.hidden());
  }
}

AttentionBlock::Layer StageExecutor::SelfAttention(int64_t layer) {
  const std::optional<kernels::RelativeBias>& bias = Plan(layer).relative_bias;
  return {.spec = spec_.Block(layer).attention,
          .weights = LayerWeights(layer).attention,
          .layout = kv_.layout(KvIndex(layer)),
          .cache = kv_.layer(KvIndex(layer)),
          .relative_bias = bias ? bias->table() : kernels::RelativeBiasTable()};
}

// Its keys lie in other pages of the memory that the layer has for its own.
AttentionBlock::Layer StageExecutor::CrossAttention(int64_t layer) {
  return {.spec = *spec_.Block(layer).cross_attention,
          .weights = LayerWeights(layer).cross_attention,
          .layout = kv_.layout(KvIndex(layer)),
          .cache = kv_.layer(KvIndex(layer))};
}

void StageExecutor::AttendCross(MicroBatch& batch, int64_t layer) {
  const model::AttentionWeights& weights = LayerWeights(layer).cross_attention;
  Normalize(batch.hidden(), {weights.norm, weights.norm_bias}, batch.rows(), wire_,
            batch.wire_normed());
  attention_.RunCross(batch, CrossAttention(layer));
  AddProjected(batch);
}

void StageExecutor::EndEncoder(MicroBatch& batch) {
  Normalize(batch.hidden(), {weights_.final_norm, weights_.final_norm_bias}, batch.rows(), wire_,
            batch.wire_normed());
}

void StageExecutor::StoreSource(MicroBatch& batch) {
  for (int64_t layer = first_layer(); layer < last_layer(); ++layer) {
    if (spec_.Block(layer).cross_attention) attention_.StoreSource(batch, CrossAttention(layer));
  }
}

// What the feed-forward network reads, in the wire type and, for a router, in fp32.
void StageExecutor::PrepareFfn(MicroBatch& batch, int64_t layer) {
  if (spec_.post_norm) return HiddenToWire(batch);
  const model::RouterLayerWeights& weights = LayerWeights(layer);
  const Norm norm = {weights.ffn_norm, weights.ffn_norm_bias};
  Normalize(batch.hidden(), norm, batch.rows(), wire_, batch.wire_normed());
  if (spec_.Block(layer).ffn.router && wire_ != kernels::DType::kFloat32) {
    Normalize(batch.hidden(), norm, batch.rows(), kernels::DType::kFloat32, batch.normed());
  }
}

// Where PrepareFfn has left it in fp32.
const float* StageExecutor::RouterInput(MicroBatch& batch) const {
  if (spec_.post_norm) return batch.hidden();
  const bool fp32 = wire_ == kernels::DType::kFloat32;
  return fp32 ? static_cast<const float*>(batch.wire_normed()) : batch.normed();
}

// From batch.wire_normed() to batch.projected().
void StageExecutor::RunDense(MicroBatch& batch, const kernels::ExpertWeights& weights) {
  const int64_t input_bytes = spec_.hidden * static_cast<int64_t>(kernels::SizeOf(wire_));
  dense_rows_.resize(batch.rows());
  for (int64_t row = 0; row < batch.rows(); ++row) {
    dense_rows_[row] = {.input = static_cast<char*>(batch.wire_normed()) + row * input_bytes,
                        .output = batch.projected() + row * spec_.hidden,
                        .gate_weight = 1.0f};
  }
  const kernels::ExpertGroup group = {.weights = &weights, .begin = 0, .end = batch.rows()};
  device_.ExpertFfn(
      {.rows = dense_rows_, .groups = {&group, 1}, .output_type = kernels::DType::kFloat32},
      dense_workspace_);
}

// Adds the shared expert's rows, while the others are away.
void StageExecutor::AddShared(MicroBatch& batch, int64_t layer) {
  const std::optional<model::SharedExpertSpec>& shared = spec_.Block(layer).ffn.shared;
  if (!shared) return;
  const model::RouterLayerWeights& weights = LayerWeights(layer);
  RunDense(batch, weights.shared);
  if (!shared->sigmoid_gate) return AddProjected(batch);
  // Chosen experts are known, so the logits are free.
  float* const gates = batch.router_logits();
  Multiply(RouterInput(batch), batch.rows(), weights.shared_gate, gates, 1);
  device_.AddGated({batch.hidden(), spec_.hidden, batch.rows(), spec_.hidden}, gates,
                   batch.projected());
}

// Chooses the rows' experts; returns how many rows have none because their logits are no numbers.
int64_t StageExecutor::Route(MicroBatch& batch, int64_t layer) {
  const model::RouterLayerWeights& weights = LayerWeights(layer);
  const model::RouterSpec& router = *spec_.Block(layer).ffn.router;
  Multiply(RouterInput(batch), batch.rows(), weights.router, batch.router_logits(), router.experts);
  if (router.bias) {
    device_.AddBias({batch.router_logits(), router.experts, batch.rows(), router.experts},
                    weights.router_bias.data());
  }
  for (const RoutingRun& run : batch.routing_runs()) RouteRun(batch, layer, run);
  int64_t failed = 0;
  for (int64_t row = 0; row < batch.rows(); ++row) {
    if (batch.router_failed()[row] == 0) continue;
    batch.MarkFailed(row);
    ++failed;
  }
  return failed;
}

void StageExecutor::RouteRun(MicroBatch& batch, int64_t layer, const RoutingRun& run) {
  const model::RouterSpec& router = *spec_.Block(layer).ffn.router;
  const kernels::RouterConvention& convention =
      run.full_pass ? Plan(layer).full_pass : Plan(layer).generation;
  const bool limited = kernels::IsLimited(convention.capacity);
  const int64_t first = run.first_row * router.top_k;
  const absl::Status routed = device_.Route(
      {.convention = &convention,
       .logits = batch.router_logits() + run.first_row * router.experts,
       .rows = run.rows,
       .experts = router.experts,
       .k = router.top_k,
       .bias = router.correction_bias ? LayerWeights(layer).correction_bias.data() : nullptr,
       .sequences = limited ? run.ranges : std::span<const kernels::RowRange>(),
       .ids = batch.expert_ids(layer) + first,
       .weights = batch.expert_weights(layer) + first,
       .failed = batch.router_failed() + run.first_row,
       .chosen = batch.chosen_ids(layer) + first});
  CHECK(routed.ok()) << routed;  // the convention was checked when the model was opened
}

// Routes the rows and sends them to their experts. False when no row has an expert to go to (all
// have failed): there is nothing to wait for.
bool StageExecutor::Dispatch(MicroBatch& batch, int64_t layer) {
  if (Route(batch, layer) == batch.rows()) return false;
  batch.layer = layer;
  dispatcher_.Begin({.micro_batch = batch.index(),
                     .layer = static_cast<uint32_t>(layer),
                     .phase = batch.phase(),
                     .rows = batch.rows(),
                     .activations = static_cast<const std::byte*>(batch.wire_normed()),
                     .experts = batch.expert_ids(layer),
                     .weights = batch.expert_weights(layer),
                     .timeout = batch.expert_timeout()});
  AddShared(batch, layer);
  return true;
}

void StageExecutor::EndLayer(MicroBatch& batch, int64_t layer) {
  if (!spec_.post_norm) return;
  const model::RouterLayerWeights& weights = LayerWeights(layer);
  Normalize(batch.hidden(), {weights.ffn_norm, weights.ffn_norm_bias}, batch.rows(),
            kernels::DType::kFloat32, batch.hidden());
}

void StageExecutor::AddExperts(MicroBatch& batch) {
  const DispatchResult result = dispatcher_.Result(batch.index());
  const int64_t top_k = spec_.Block(batch.layer).ffn.router->top_k;
  const int32_t* const ids = batch.expert_ids(batch.layer);
  for (int64_t i = 0; i < batch.rows() * top_k; ++i) {
    if (ids[i] >= 0 && result[i] == nullptr) batch.MarkFailed(i / top_k);
  }
  device_.CombineTokens({.rows = batch.rows(),
                         .top_k = top_k,
                         .experts = ids,
                         .results = result.data(),
                         .wire_type = wire_,
                         .hidden = spec_.hidden,
                         .output = batch.hidden()});
}

void StageExecutor::FinalNorm(MicroBatch& batch) {
  Normalize(batch.hidden(), {weights_.final_norm, weights_.final_norm_bias}, batch.rows(),
            kernels::DType::kFloat32, batch.hidden());
}

void StageExecutor::Logits(MicroBatch& batch, std::span<const int32_t> rows, float* logits) {
  const int64_t count = std::ssize(rows);
  // The workspaces of the projections are free between layers and large enough.
  float* const gathered = batch.projected();
  device_.Embedding({.table = batch.hidden(),
                     .width = spec_.hidden,
                     .ids = rows.data(),
                     .rows = count,
                     .output = gathered});
  LogitsOf({gathered, static_cast<size_t>(count * spec_.hidden)}, batch, logits);
}

void StageExecutor::LogitsOf(std::span<const float> hidden, MicroBatch& workspaces, float* logits) {
  CHECK(weights_.head.n() == spec_.vocabulary) << "logits of a stage without the LM head";
  const int64_t count = std::ssize(hidden) / spec_.hidden;
  Normalize(hidden.data(), {weights_.final_norm, weights_.final_norm_bias}, count, wire_,
            workspaces.wire_normed());
  Multiply(workspaces.wire_normed(), count, weights_.head, logits, spec_.vocabulary);
  if (spec_.head_bias) {
    device_.AddBias({logits, spec_.vocabulary, count, spec_.vocabulary}, weights_.head_bias.data());
  }
  FinishOn(device_);
}

void StageExecutor::Normalize(const float* rows, const Norm& norm, int64_t count,
                              kernels::DType type, void* output) {
  if (spec_.norm == model::NormKind::kLayer) {
    device_.LayerNorm({.x = rows,
                       .weight = norm.weight.data(),
                       .bias = norm.bias.data(),
                       .epsilon = spec_.norm_epsilon,
                       .rows = count,
                       .width = spec_.hidden,
                       .y = output,
                       .output_type = type});
    return;
  }
  device_.RmsNorm({.x = rows,
                   .weight = norm.weight.data(),
                   .epsilon = spec_.norm_epsilon,
                   .rows = count,
                   .width = spec_.hidden,
                   .y = output,
                   .output_type = type});
}

void StageExecutor::HiddenToWire(MicroBatch& batch) {
  device_.ToWire(batch.hidden(), batch.rows() * spec_.hidden, wire_, batch.wire_normed());
}

void StageExecutor::Multiply(const void* x, int64_t rows, const kernels::PackedMatrix& w, float* y,
                             int64_t y_stride) {
  device_.Matmul({.x = x, .x_stride = w.k(), .m = rows, .w = &w, .y = y, .y_stride = y_stride});
}

void StageExecutor::AddProjected(MicroBatch& batch) {
  device_.Add({batch.hidden(), spec_.hidden, batch.rows(), spec_.hidden}, batch.projected());
}

}  // namespace switchyard::router
