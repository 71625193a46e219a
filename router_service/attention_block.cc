#include "router_service/attention_block.h"

#include "services/runtime/device_work.h"

namespace switchyard::router {
namespace {

const char* At(const void* rows, int64_t element, kernels::DType type) {
  return static_cast<const char*>(rows) + element * static_cast<int64_t>(kernels::SizeOf(type));
}

}  // namespace

AttentionBlock::AttentionBlock(const model::ModelSpec& spec, const kernels::RopeTable& rope,
                               kernels::NumericsClass numerics, kernels::Device& device)
    : spec_(spec), rope_(rope), wire_(kernels::WireType(numerics)), device_(device) {}

void AttentionBlock::Run(MicroBatch& batch, const Layer& layer) {
  if (layer.spec.kind == model::AttentionKind::kMla) {
    RunLatent(batch, layer);
  } else {
    RunHeads(batch, layer);
  }
}

void AttentionBlock::RunCross(MicroBatch& batch, const Layer& layer) {
  const int64_t stride = layer.spec.heads * layer.spec.head_dim;
  Project(batch, {layer.weights.q, layer.weights.q_bias}, batch.qkv(), stride);
  Attend(batch, layer,
         {.sequences = batch.source_sequences(), .q = batch.qkv(), .q_stride = stride});
  ProjectOutput(batch, layer, batch.attended());
}

void AttentionBlock::StoreSource(MicroBatch& batch, const Layer& layer) {
  const int64_t k_width = layer.spec.kv_heads * layer.spec.head_dim;
  const int64_t stride = k_width + layer.spec.kv_heads * layer.spec.value_dim;
  float* const k = batch.qkv();
  Project(batch, {layer.weights.k, layer.weights.k_bias}, k, stride);
  Project(batch, {layer.weights.v, layer.weights.v_bias}, k + k_width, stride);
  device_.StoreKv({.layout = layer.layout,
                   .cache = layer.cache,
                   .sequences = batch.sequences(),
                   .k = k,
                   .v = k + k_width,
                   .row_stride = stride});
}

void AttentionBlock::RunHeads(MicroBatch& batch, const Layer& layer) {
  ProjectHeads(batch, layer);
  const int64_t q_width = layer.spec.heads * layer.spec.head_dim;
  const int64_t k_width = layer.spec.kv_heads * layer.spec.head_dim;
  const int64_t stride = QkvWidth(layer.spec);
  device_.StoreKv({.layout = layer.layout,
                   .cache = layer.cache,
                   .sequences = batch.sequences(),
                   .k = batch.qkv() + q_width,
                   .v = batch.qkv() + q_width + k_width,
                   .row_stride = stride});
  Attend(batch, layer, {.sequences = batch.sequences(), .q = batch.qkv(), .q_stride = stride});
  ProjectOutput(batch, layer, batch.attended());
}

void AttentionBlock::Project(MicroBatch& batch, const Projection& projection, float* y,
                             int64_t y_stride) {
  const kernels::PackedMatrix& w = projection.weights;
  Multiply(batch.wire_normed(), spec_.hidden, batch.rows(), w, y, y_stride);
  if (projection.bias.empty()) return;
  device_.AddBias({y, y_stride, batch.rows(), w.n()}, projection.bias.data());
}

// `attended`: [rows][heads * value_dim] in the wire type.
void AttentionBlock::ProjectOutput(MicroBatch& batch, const Layer& layer, const void* attended) {
  const kernels::PackedMatrix& output = layer.weights.output;
  Multiply(attended, output.k(), batch.rows(), output, batch.projected(), spec_.hidden);
  if (!layer.spec.output_bias) return;
  device_.AddBias({batch.projected(), spec_.hidden, batch.rows(), spec_.hidden},
                  layer.weights.output_bias.data());
}

// q, k and v of all rows, ready for the cache, side by side in batch.qkv().
void AttentionBlock::ProjectHeads(MicroBatch& batch, const Layer& layer) {
  const model::AttentionSpec& spec = layer.spec;
  const model::AttentionWeights& weights = layer.weights;
  const int64_t q_width = spec.heads * spec.head_dim;
  const int64_t k_width = spec.kv_heads * spec.head_dim;
  const int64_t stride = QkvWidth(spec);
  const int64_t rows = batch.rows();
  float* const q = batch.qkv();
  Project(batch, {weights.q, weights.q_bias}, q, stride);
  Project(batch, {weights.k, weights.k_bias}, q + q_width, stride);
  Project(batch, {weights.v, weights.v_bias}, q + q_width + k_width, stride);
  NormalizeHeads(batch, layer);
  if (spec.clip_qkv > 0) {
    device_.Clamp({q, stride, rows, stride}, static_cast<float>(spec.clip_qkv));
  }
  // k follows q, so both rotate as one row of heads.
  if (spec_.positions == model::PositionKind::kRope) {
    Rotate(batch, q, stride, spec.heads + spec.kv_heads, spec.head_dim);
  }
}

void AttentionBlock::NormalizeHeads(MicroBatch& batch, const Layer& layer) {
  if (layer.spec.qk_norm == model::QkNorm::kNone) return;
  const bool per_head = layer.spec.qk_norm == model::QkNorm::kPerHead;
  const auto normalize = [&](float* x, int64_t heads, const kernels::Floats& weight) {
    device_.RmsNorm({.x = x,
                     .x_stride = QkvWidth(layer.spec),
                     .weight = weight.data(),
                     .epsilon = spec_.norm_epsilon,
                     .rows = batch.rows(),
                     .heads = per_head ? heads : 1,
                     .width = layer.spec.head_dim * (per_head ? 1 : heads),
                     .y = x,
                     .y_stride = QkvWidth(layer.spec)});
  };
  normalize(batch.qkv(), layer.spec.heads, layer.weights.q_norm);
  normalize(batch.qkv() + layer.spec.heads * layer.spec.head_dim, layer.spec.kv_heads,
            layer.weights.k_norm);
}

void AttentionBlock::RunLatent(MicroBatch& batch, const Layer& layer) {
  ProjectLatent(batch, layer);
  device_.StoreKv({.layout = layer.layout,
                   .cache = layer.cache,
                   .sequences = batch.sequences(),
                   .k = batch.qkv() + layer.spec.heads * layer.spec.head_dim,
                   .row_stride = QkvWidth(layer.spec)});
  Attend(batch, layer,
         {.sequences = batch.sequences(),
          .q = AbsorbQueries(batch, layer),
          .q_stride = layer.spec.heads * layer.spec.mla.cache_width()});
  ProjectOutput(batch, layer, ExpandValues(batch, layer));
}

// A row of batch.qkv(): the heads' queries, then the normed latent, then the rotated rope key.
void AttentionBlock::ProjectLatent(MicroBatch& batch, const Layer& layer) {
  const model::MlaSpec& mla = layer.spec.mla;
  const model::MlaWeights& weights = layer.weights.mla;
  const int64_t rows = batch.rows();
  const int64_t stride = QkvWidth(layer.spec);
  float* const q = batch.qkv();
  float* const latent = q + layer.spec.heads * layer.spec.head_dim;
  if (mla.q_lora_rank > 0) {
    Reserve(low_rank_, rows * mla.q_lora_rank * sizeof(float));
    Reserve(wire_low_rank_, rows * mla.q_lora_rank * kernels::SizeOf(wire_));
    Project(batch, {weights.query_down, weights.query_down_bias}, low_rank_.As<float>(),
            mla.q_lora_rank);
    device_.RmsNorm({.x = low_rank_.As<float>(),
                     .weight = weights.query_norm.data(),
                     .epsilon = mla.latent_norm_epsilon,
                     .rows = rows,
                     .width = mla.q_lora_rank,
                     .y = wire_low_rank_.data(),
                     .output_type = wire_});
    Multiply(wire_low_rank_.data(), mla.q_lora_rank, rows, weights.query_up, q, stride);
  } else {
    Multiply(batch.wire_normed(), spec_.hidden, rows, layer.weights.q, q, stride);
  }
  Project(batch, {weights.latent, weights.latent_bias}, latent, stride);
  device_.RmsNorm({.x = latent,
                   .x_stride = stride,
                   .weight = weights.latent_norm.data(),
                   .epsilon = mla.latent_norm_epsilon,
                   .rows = rows,
                   .width = mla.kv_lora_rank,
                   .y = latent,
                   .y_stride = stride});
  Rotate(batch, q + mla.nope_dim, stride, layer.spec.heads, layer.spec.head_dim);
  Rotate(batch, latent + mla.kv_lora_rank, stride, 1, mla.rope_dim);
}

// Queries of the cache, [rows][heads][cache_width]: the plain part through key_up, the rope part as
// it is.
const float* AttentionBlock::AbsorbQueries(MicroBatch& batch, const Layer& layer) {
  const model::AttentionSpec& spec = layer.spec;
  const model::MlaSpec& mla = spec.mla;
  const int64_t rows = batch.rows();
  const int64_t stride = QkvWidth(spec);
  const int64_t width = mla.cache_width();
  const void* const wire = AsWire(batch.qkv(), rows * stride);
  Reserve(queries_, rows * spec.heads * width * sizeof(float));
  float* const queries = queries_.As<float>();
  for (int64_t head = 0; head < spec.heads; ++head) {
    Multiply(At(wire, head * spec.head_dim, wire_), stride, rows, layer.weights.mla.key_up[head],
             queries + head * width, spec.heads * width);
  }
  for (int64_t head = 0; head < spec.heads; ++head) {
    device_.CopyRows({.from = batch.qkv() + head * spec.head_dim + mla.nope_dim,
                      .from_stride = stride,
                      .rows = rows,
                      .width = mla.rope_dim,
                      .to = queries + head * width + mla.kv_lora_rank,
                      .to_stride = spec.heads * width});
  }
  return queries;
}

// The attended latents as the heads' values, [rows][heads][value_dim] in the wire type.
const void* AttentionBlock::ExpandValues(MicroBatch& batch, const Layer& layer) {
  const model::AttentionSpec& spec = layer.spec;
  const int64_t rank = spec.mla.kv_lora_rank;
  const int64_t width = spec.heads * spec.value_dim;
  Reserve(values_, batch.rows() * width * sizeof(float));
  for (int64_t head = 0; head < spec.heads; ++head) {
    Multiply(At(batch.attended(), head * rank, wire_), spec.heads * rank, batch.rows(),
             layer.weights.mla.value_up[head], values_.As<float>() + head * spec.value_dim, width);
  }
  return AsWire(values_.As<float>(), batch.rows() * width);
}

void AttentionBlock::Attend(MicroBatch& batch, const Layer& layer, const Queries& queries) {
  device_.Attention({.layout = layer.layout,
                     .cache = layer.cache,
                     .sequences = queries.sequences,
                     .q = queries.q,
                     .q_stride = queries.q_stride,
                     .heads = layer.spec.heads,
                     .scale = static_cast<float>(layer.spec.scale),
                     .window = layer.spec.sliding_window,
                     .relative_bias = layer.relative_bias,
                     .sinks = layer.spec.sinks ? layer.weights.sinks.data() : nullptr,
                     .output = batch.attended(),
                     .output_type = wire_});
}

void AttentionBlock::Rotate(const MicroBatch& batch, float* x, int64_t stride, int64_t heads,
                            int64_t head_dim) {
  for (const RopeRun& run : batch.rope_runs()) {
    device_.Rope({.x = x + run.first_row * stride,
                  .row_stride = stride,
                  .rows = run.rows,
                  .heads = heads,
                  .head_dim = head_dim,
                  .positions = batch.positions().data() + run.first_row,
                  .table = run.table != nullptr ? run.table : &rope_,
                  .interleaved = spec_.rope.interleaved});
  }
}

// The elements as a matmul reads them: rounded, or where they are. Valid until the next call.
const void* AttentionBlock::AsWire(const float* x, int64_t elements) {
  if (wire_ == kernels::DType::kFloat32) return x;
  Reserve(wire_copy_, elements * kernels::SizeOf(wire_));
  device_.ToWire(x, elements, wire_, wire_copy_.data());
  return wire_copy_.data();
}

// The device may still use the old memory.
void AttentionBlock::Reserve(kernels::Buffer& buffer, size_t bytes) {
  if (bytes <= buffer.size()) return;
  FinishOn(device_);
  buffer.Reserve(bytes);
}

void AttentionBlock::Multiply(const void* x, int64_t x_stride, int64_t rows,
                              const kernels::PackedMatrix& w, float* y, int64_t y_stride) {
  device_.Matmul({.x = x, .x_stride = x_stride, .m = rows, .w = &w, .y = y, .y_stride = y_stride});
}

}  // namespace switchyard::router
