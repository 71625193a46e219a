#include "router_service/stage_executor.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "kernels/embedding/embedding.h"
#include "kernels/expert_ffn/combine.h"
#include "kernels/matmul/matmul.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/router/router.h"
#include "services/base/check.h"

namespace switchyard::router {
namespace {

// Most experts of a token (kernels/expert_ffn/combine.h).
constexpr int64_t kMaxTopK = 64;

// Elements that a tile of an elementwise operation covers: some microseconds of work.
constexpr int64_t kTileElements = 16384;

int64_t RowsPerTile(int64_t width) { return std::max<int64_t>(1, kTileElements / width); }

}  // namespace

StageExecutor::StageExecutor(model::StageWeights weights, const model::ModelSpec& spec,
                             const kernels::RopeTable& rope, kernels::NumericsClass numerics,
                             int64_t kv_pages, kernels::ThreadPool& pool,
                             ExpertDispatcher& dispatcher)
    : spec_(spec),
      rope_(rope),
      numerics_(numerics),
      wire_(kernels::WireType(numerics)),
      pool_(pool),
      dispatcher_(dispatcher),
      weights_(std::move(weights)),
      kv_(spec, weights_.first_layer,
          weights_.first_layer + static_cast<int64_t>(weights_.layers.size()), numerics, kv_pages) {
  for (const model::LayerSpec& layer : spec.layers) {
    CHECK(!layer.ffn.router || layer.ffn.router->top_k <= kMaxTopK)
        << "top_k " << layer.ffn.router->top_k;
  }
}

StageProgress StageExecutor::Enter(MicroBatch& batch) {
  if (first_layer() == 0) {
    kernels::Embedding({.table = weights_.embedding.data(),
                        .type = weights_.embedding_type,
                        .width = spec_.hidden,
                        .ids = batch.tokens().data(),
                        .rows = batch.rows(),
                        .output = batch.hidden()});
  }
  return RunFrom(batch, first_layer());
}

StageProgress StageExecutor::Resume(MicroBatch& batch) {
  AddExperts(batch);
  return RunFrom(batch, batch.layer + 1);
}

StageProgress StageExecutor::RunFrom(MicroBatch& batch, int64_t layer) {
  for (; layer < last_layer(); ++layer) {
    Attend(batch, layer);
    if (!spec_.layers[layer].ffn.router) {
      RunDense(batch, layer);
    } else if (Dispatch(batch, layer)) {
      return StageProgress::kExpertsAway;
    }
  }
  return StageProgress::kDone;
}

void StageExecutor::Attend(MicroBatch& batch, int64_t layer) {
  const model::AttentionWeights& weights = weights_.layers[layer - first_layer()].attention;
  const model::AttentionSpec& spec = spec_.layers[layer].attention;
  const int64_t q_width = spec.heads * spec.head_dim;
  const int64_t kv_width = spec.kv_heads * spec.head_dim;
  const int64_t stride = q_width + 2 * kv_width;
  Normalize(batch.hidden(), weights.norm, batch.rows(), wire_, batch.wire_normed());
  Project(batch, weights, spec);

  const kernels::KvLayout& layout = kv_.layout(layer - first_layer());
  void* const cache = kv_.layer(layer - first_layer());
  kernels::StoreKv({.layout = layout,
                    .cache = cache,
                    .sequences = batch.sequences(),
                    .k = batch.qkv() + q_width,
                    .v = batch.qkv() + q_width + kv_width,
                    .row_stride = stride},
                   pool_);
  kernels::Attention({.layout = layout,
                      .cache = cache,
                      .sequences = batch.sequences(),
                      .q = batch.qkv(),
                      .q_stride = stride,
                      .heads = spec.heads,
                      .scale = static_cast<float>(1.0 / std::sqrt(spec.head_dim)),
                      .window = spec.sliding_window,
                      .output = batch.attended(),
                      .output_type = wire_},
                     pool_);
  Multiply(batch.attended(), batch.rows(), weights.output, batch.projected(), spec_.hidden);
  AddProjected(batch);
}

// q, k and v of all rows, rotated, side by side in batch.qkv().
void StageExecutor::Project(MicroBatch& batch, const model::AttentionWeights& weights,
                            const model::AttentionSpec& spec) {
  const int64_t q_width = spec.heads * spec.head_dim;
  const int64_t kv_width = spec.kv_heads * spec.head_dim;
  const int64_t stride = q_width + 2 * kv_width;
  float* const q = batch.qkv();
  Multiply(batch.wire_normed(), batch.rows(), weights.q, q, stride);
  Multiply(batch.wire_normed(), batch.rows(), weights.k, q + q_width, stride);
  Multiply(batch.wire_normed(), batch.rows(), weights.v, q + q_width + kv_width, stride);
  // k follows q, so both rotate as one row of heads.
  kernels::Rope({.x = q,
                 .row_stride = stride,
                 .rows = batch.rows(),
                 .heads = spec.heads + spec.kv_heads,
                 .head_dim = spec.head_dim,
                 .positions = batch.positions().data(),
                 .table = &rope_},
                pool_);
}

void StageExecutor::RunDense(MicroBatch& batch, int64_t layer) {
  const model::RouterLayerWeights& weights = weights_.layers[layer - first_layer()];
  Normalize(batch.hidden(), weights.ffn_norm, batch.rows(), wire_, batch.wire_normed());
  const int64_t input_bytes = spec_.hidden * static_cast<int64_t>(kernels::SizeOf(wire_));
  dense_rows_.resize(batch.rows());
  for (int64_t row = 0; row < batch.rows(); ++row) {
    dense_rows_[row] = {.input = static_cast<char*>(batch.wire_normed()) + row * input_bytes,
                        .output = batch.projected() + row * spec_.hidden,
                        .gate_weight = 1.0f};
  }
  const kernels::ExpertGroup group = {.weights = &weights.dense, .begin = 0, .end = batch.rows()};
  kernels::ExpertFfn(
      {.rows = dense_rows_, .groups = {&group, 1}, .output_type = kernels::DType::kFloat32},
      dense_workspace_, pool_);
  AddProjected(batch);
}

// Routes the rows and sends them to their experts. False when no row has an expert to go to (all
// have failed): there is nothing to wait for.
bool StageExecutor::Dispatch(MicroBatch& batch, int64_t layer) {
  const model::RouterLayerWeights& weights = weights_.layers[layer - first_layer()];
  const model::RouterSpec& router = *spec_.layers[layer].ffn.router;
  Normalize(batch.hidden(), weights.ffn_norm, batch.rows(), kernels::DType::kFloat32,
            batch.normed());
  void* activations = batch.normed();
  if (wire_ != kernels::DType::kFloat32) {
    Normalize(batch.hidden(), weights.ffn_norm, batch.rows(), wire_, batch.wire_normed());
    activations = batch.wire_normed();
  }
  Multiply(batch.normed(), batch.rows(), weights.router, batch.router_logits(), router.experts);
  kernels::SoftmaxTopK({.logits = batch.router_logits(),
                        .rows = batch.rows(),
                        .experts = router.experts,
                        .k = router.top_k,
                        .renormalize = router.renormalize,
                        .ids = batch.expert_ids(layer),
                        .weights = batch.expert_weights(layer),
                        .failed = batch.router_failed()},
                       pool_);
  int64_t failed = 0;
  for (int64_t row = 0; row < batch.rows(); ++row) {
    if (batch.router_failed()[row] == 0) continue;
    batch.MarkFailed(row);
    ++failed;
  }
  if (failed == batch.rows()) return false;
  batch.layer = layer;
  dispatcher_.Begin({.micro_batch = batch.index(),
                     .layer = static_cast<uint32_t>(layer),
                     .phase = batch.phase(),
                     .rows = batch.rows(),
                     .activations = static_cast<const std::byte*>(activations),
                     .experts = batch.expert_ids(layer),
                     .weights = batch.expert_weights(layer),
                     .deadline = batch.deadline()});
  return true;
}

void StageExecutor::AddExperts(MicroBatch& batch) {
  const DispatchResult result = dispatcher_.Result(batch.index());
  const int64_t top_k = spec_.layers[batch.layer].ffn.router->top_k;
  const int32_t* const ids = batch.expert_ids(batch.layer);
  const int64_t rows_per_tile = RowsPerTile(spec_.hidden * top_k);
  const int64_t tiles = (batch.rows() + rows_per_tile - 1) / rows_per_tile;
  pool_.ParallelFor(tiles, [&](int64_t tile, int) {
    const int64_t end = std::min(batch.rows(), (tile + 1) * rows_per_tile);
    for (int64_t row = tile * rows_per_tile; row < end; ++row) {
      std::array<kernels::CombineRow, kMaxTopK> parts;
      size_t count = 0;
      for (int64_t i = row * top_k; i < (row + 1) * top_k; ++i) {
        if (ids[i] >= 0) parts[count++] = {.expert = ids[i], .row = result[i]};
      }
      float* const hidden = batch.hidden() + row * spec_.hidden;
      kernels::Combine({parts.data(), count}, wire_, spec_.hidden, hidden, hidden);
    }
  });
}

void StageExecutor::Logits(MicroBatch& batch, std::span<const int32_t> rows, float* logits) {
  CHECK(weights_.head.n() == spec_.vocabulary) << "logits of a stage without the LM head";
  const int64_t count = static_cast<int64_t>(rows.size());
  // The workspaces of the projections are free between layers and large enough.
  float* const gathered = batch.projected();
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(gathered + i * spec_.hidden, batch.hidden() + rows[i] * spec_.hidden,
                spec_.hidden * sizeof(float));
  }
  Normalize(gathered, weights_.final_norm, count, wire_, batch.wire_normed());
  Multiply(batch.wire_normed(), count, weights_.head, logits, spec_.vocabulary);
}

void StageExecutor::Normalize(const float* rows, const std::vector<float>& weight, int64_t count,
                              kernels::DType type, void* output) {
  kernels::RmsNorm({.x = rows,
                    .weight = weight.data(),
                    .epsilon = spec_.norm_epsilon,
                    .rows = count,
                    .width = spec_.hidden,
                    .y = output,
                    .output_type = type},
                   pool_);
}

void StageExecutor::Multiply(const void* x, int64_t rows, const kernels::PackedMatrix& w, float* y,
                             int64_t y_stride) {
  kernels::Matmul({.x = x, .x_stride = w.k(), .m = rows, .w = &w, .y = y, .y_stride = y_stride},
                  pool_);
}

void StageExecutor::AddProjected(MicroBatch& batch) {
  const int64_t rows_per_tile = RowsPerTile(spec_.hidden);
  const int64_t tiles = (batch.rows() + rows_per_tile - 1) / rows_per_tile;
  pool_.ParallelFor(tiles, [&](int64_t tile, int) {
    const int64_t begin = tile * rows_per_tile * spec_.hidden;
    const int64_t end = std::min(batch.rows(), (tile + 1) * rows_per_tile) * spec_.hidden;
    float* const hidden = batch.hidden();
    const float* const projected = batch.projected();
    for (int64_t i = begin; i < end; ++i) hidden[i] += projected[i];
  });
}

}  // namespace switchyard::router
