#include "router_service/micro_batch.h"

#include <algorithm>

#include "services/base/check.h"

namespace switchyard::router {

int64_t QkvWidth(const model::AttentionSpec& spec) {
  const int64_t cached = spec.kind == model::AttentionKind::kMla
                             ? spec.mla.cache_width()
                             : spec.kv_heads * (spec.head_dim + spec.value_dim);
  return spec.heads * spec.head_dim + cached;
}

int64_t AttendedWidth(const model::AttentionSpec& spec) {
  const bool latent = spec.kind == model::AttentionKind::kMla;
  return spec.heads * (latent ? spec.mla.kv_lora_rank : spec.value_dim);
}

MicroBatch::MicroBatch(const model::ModelSpec& spec, kernels::NumericsClass numerics,
                       uint32_t index, int64_t max_rows)
    : index_(index), max_rows_(max_rows), failed_(max_rows), router_failed_(max_rows) {
  int64_t qkv_width = 0, attended_width = 0, experts = 0, routing_size = 0;
  for (const model::LayerSpec& layer : spec.layers) {
    const model::AttentionSpec& attention = layer.attention;
    attended_width = std::max(attended_width, AttendedWidth(attention));
    qkv_width = std::max(qkv_width, QkvWidth(attention));
    routing_offset_.push_back(routing_size);
    if (layer.ffn.router) {
      experts = std::max(experts, layer.ffn.router->experts);
      routing_size += max_rows * layer.ffn.router->top_k;
    }
  }
  tokens_.reserve(max_rows);
  positions_.reserve(max_rows);
  sequences_.reserve(max_rows);
  rope_runs_.reserve(max_rows);
  expert_ids_.resize(routing_size);
  expert_weights_.resize(routing_size);
  const int64_t wire = kernels::SizeOf(kernels::WireType(numerics));
  hidden_ = kernels::Buffer(max_rows * spec.hidden * sizeof(float));
  normed_ = kernels::Buffer(max_rows * spec.hidden * sizeof(float));
  wire_normed_ = kernels::Buffer(max_rows * spec.hidden * wire);
  qkv_ = kernels::Buffer(max_rows * qkv_width * sizeof(float));
  attended_ = kernels::Buffer(max_rows * attended_width * wire);
  projected_ = kernels::Buffer(max_rows * spec.hidden * sizeof(float));
  router_logits_ = kernels::Buffer(std::max<int64_t>(1, max_rows * experts) * sizeof(float));
}

void MicroBatch::Assign(std::span<const SequenceChunk> chunks, transport::Phase phase,
                        Duration expert_timeout) {
  tokens_.clear();
  positions_.clear();
  sequences_.clear();
  rope_runs_.clear();
  for (const SequenceChunk& chunk : chunks) {
    if (rope_runs_.empty() || rope_runs_.back().table != chunk.rope) {
      rope_runs_.push_back({.table = chunk.rope, .first_row = std::ssize(tokens_)});
    }
    rope_runs_.back().rows += chunk.rows;
    tokens_.insert(tokens_.end(), chunk.tokens, chunk.tokens + chunk.rows);
    for (int64_t row = 0; row < chunk.rows; ++row) {
      positions_.push_back(chunk.first_position + row);
    }
    sequences_.push_back(
        {.pages = chunk.pages, .first_position = chunk.first_position, .rows = chunk.rows});
  }
  rows_ = static_cast<int64_t>(tokens_.size());
  CHECK(rows_ > 0 && rows_ <= max_rows_) << rows_ << " rows in a micro-batch of " << max_rows_;
  std::fill_n(failed_.begin(), rows_, uint8_t{0});
  phase_ = phase;
  expert_timeout_ = expert_timeout;
}

}  // namespace switchyard::router
