#pragma once

// Runs micro-batches through a range of layers: embedding in the first stage, attention and routing
// here, experts through the dispatcher, LM head in the last stage. A state machine that stops
// wherever a layer's experts are away, so that several micro-batches take turns on one thread. What
// a row computes depends on its own sequence only (docs/arithmetic.md), never on the micro-batch.
//
// The encoder of an encoder-decoder model is one more range of layers, whose indices follow the
// decoder's (ModelSpec::Block). A micro-batch holds whole sources, so a layer's keys are of no use
// once it is through: all of them use the memory of one layer.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/attention/relative_bias.h"
#include "kernels/base/numerics.h"
#include "kernels/device/device.h"
#include "kernels/expert_ffn/expert_ffn.h"
#include "kernels/rope/rope.h"
#include "kernels/router/convention.h"
#include "router_service/attention_block.h"
#include "router_service/expert_dispatcher.h"
#include "router_service/kv_storage.h"
#include "router_service/micro_batch.h"
#include "services/model/checkpoint.h"
#include "services/model/model_spec.h"

namespace switchyard::router {

enum class StageProgress {
  kExpertsAway,  // the dispatcher has the layer `batch.layer`; call Resume when it is finished
  kDone,         // batch.hidden() is the stage's output
};

// Used by one thread, which is also the dispatcher's. Device and dispatcher must outlive it.
class StageExecutor {
 public:
  StageExecutor(model::StageWeights weights, const model::ModelSpec& spec,
                const kernels::RopeTable& rope, kernels::NumericsClass numerics, int64_t kv_pages,
                kernels::Device& device, ExpertDispatcher& dispatcher);

  // The first stage's: a batch's tokens, of the decoder or the encoder, to batch.hidden(). An
  // encoder with a table of its own embeds its tokens itself.
  void Embed(MicroBatch& batch);

  // Enters the stage with batch.hidden().
  StageProgress Enter(MicroBatch& batch) { return RunFrom(batch, first_layer()); }

  // Adds the experts' rows, which are there, to the layer the batch stopped at, and goes on.
  StageProgress Resume(MicroBatch& batch);

  // Last stage, after kDone: batch.hidden() through the final norm, in place.
  void FinalNorm(MicroBatch& batch);

  // Last stage, after kDone: logits of the given rows of the batch, [rows][vocabulary]. Waits for
  // the device.
  void Logits(MicroBatch& batch, std::span<const int32_t> rows, float* logits);

  // Last stage: logits of rows that left it earlier, [rows][hidden], with the workspaces of a batch
  // that is between two layers or idle.
  void LogitsOf(std::span<const float> hidden, MicroBatch& workspaces, float* logits);

  // The encoder, after kDone: its output to batch.wire_normed().
  void EndEncoder(MicroBatch& batch);

  // A decoder's stage: stores what its cross attention sees of the encoder's output.
  void StoreSource(MicroBatch& batch);

  int64_t first_layer() const { return weights_.first_layer; }
  int64_t last_layer() const {
    return first_layer() + static_cast<int64_t>(weights_.layers.size());
  }
  KvStorage& kv() { return kv_; }

 private:
  StageProgress RunFrom(MicroBatch& batch, int64_t layer);
  // What is worked out of a layer's spec and weights once.
  struct LayerPlan {
    // Of full passes and of generation, which differ in their capacities; dense layers: unused.
    kernels::RouterConvention full_pass, generation;
    std::optional<kernels::RelativeBias> relative_bias;
  };
  LayerPlan PlanOf(int64_t layer) const;
  void Attend(MicroBatch& batch, int64_t layer);
  void AttendCross(MicroBatch& batch, int64_t layer);
  AttentionBlock::Layer SelfAttention(int64_t layer);
  AttentionBlock::Layer CrossAttention(int64_t layer);
  int64_t KvIndex(int64_t layer) const { return is_encoder_ ? 0 : layer - first_layer(); }
  void PrepareFfn(MicroBatch& batch, int64_t layer);
  const float* RouterInput(MicroBatch& batch) const;
  void RunDense(MicroBatch& batch, const kernels::ExpertWeights& weights);
  void AddShared(MicroBatch& batch, int64_t layer);
  bool Dispatch(MicroBatch& batch, int64_t layer);
  int64_t Route(MicroBatch& batch, int64_t layer);
  void RouteRun(MicroBatch& batch, int64_t layer, const RoutingRun& run);
  void AddExperts(MicroBatch& batch);
  void EndLayer(MicroBatch& batch, int64_t layer);
  const model::RouterLayerWeights& LayerWeights(int64_t layer) const;
  const LayerPlan& Plan(int64_t layer) const { return plans_[layer - first_layer()]; }

  // A norm of the model's kind, its weight and, for LayerNorm, bias.
  struct Norm {
    const kernels::Floats& weight;
    const kernels::Floats& bias;
  };
  void Normalize(const float* rows, const Norm& norm, int64_t count, kernels::DType type,
                 void* output);
  void HiddenToWire(MicroBatch& batch);
  void Multiply(const void* x, int64_t rows, const kernels::PackedMatrix& w, float* y,
                int64_t y_stride);
  void AddProjected(MicroBatch& batch);

  const model::ModelSpec& spec_;
  const kernels::DType wire_;
  kernels::Device& device_;
  ExpertDispatcher& dispatcher_;
  model::StageWeights weights_;
  const bool is_encoder_;
  KvStorage kv_;
  AttentionBlock attention_;
  std::vector<LayerPlan> plans_;
  kernels::Floats sinusoids_;  // [max_positions][hidden]
  kernels::ExpertWorkspace dense_workspace_;
  std::vector<kernels::ExpertRow> dense_rows_;
};

}  // namespace switchyard::router
