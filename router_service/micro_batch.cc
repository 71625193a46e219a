#include "router_service/micro_batch.h"

#include <algorithm>
#include <cstring>

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
    : index_(index),
      hidden_width_(spec.hidden),
      max_rows_(max_rows),
      failed_(max_rows),
      router_failed_(max_rows) {
  int64_t qkv_width = 0, attended_width = 0, experts = 0, routing_size = 0;
  for (int64_t block = 0; block < spec.Blocks(); ++block) {
    const model::LayerSpec& layer = spec.Block(block);
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
  routing_runs_.reserve(max_rows);
  capacity_ranges_.reserve(max_rows);
  sources_.reserve(max_rows);
  expert_ids_.resize(routing_size);
  chosen_ids_.resize(routing_size);
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
  routing_runs_.clear();
  capacity_ranges_.clear();
  sources_.clear();
  encoder_ = chunks.front().encoder;
  for (const SequenceChunk& chunk : chunks) {
    AddRopeRun(chunk, std::ssize(tokens_));
    AddRoutingRun(chunk, std::ssize(tokens_));
    tokens_.insert(tokens_.end(), chunk.tokens, chunk.tokens + chunk.rows - chunk.ahead.size());
    tokens_.insert(tokens_.end(), chunk.ahead.begin(), chunk.ahead.end());
    for (int64_t row = 0; row < chunk.rows; ++row) {
      positions_.push_back(chunk.first_position + row);
    }
    sequences_.push_back({.pages = chunk.pages,
                          .first_position = chunk.first_position,
                          .rows = chunk.rows,
                          .keys = chunk.encoder ? chunk.rows : 0});
    if (chunk.source_pages != nullptr) {
      sources_.push_back({.pages = chunk.source_pages,
                          .first_position = chunk.first_position,
                          .rows = chunk.rows,
                          .keys = chunk.source_rows});
    }
  }
  rows_ = static_cast<int64_t>(tokens_.size());
  CHECK(rows_ > 0 && rows_ <= max_rows_) << rows_ << " rows in a micro-batch of " << max_rows_;
  std::fill_n(failed_.begin(), rows_, uint8_t{0});
  phase_ = phase;
  expert_timeout_ = expert_timeout;
}

void MicroBatch::AddRopeRun(const SequenceChunk& chunk, int64_t first_row) {
  if (rope_runs_.empty() || rope_runs_.back().table != chunk.rope) {
    rope_runs_.push_back({.table = chunk.rope, .first_row = first_row});
  }
  rope_runs_.back().rows += chunk.rows;
}

void MicroBatch::AddRoutingRun(const SequenceChunk& chunk, int64_t first_row) {
  if (routing_runs_.empty() || routing_runs_.back().full_pass != chunk.full_pass) {
    const auto* const ranges = capacity_ranges_.data() + capacity_ranges_.size();
    routing_runs_.push_back(
        {.full_pass = chunk.full_pass, .first_row = first_row, .ranges = {ranges, 0}});
  }
  RoutingRun& run = routing_runs_.back();
  const auto* const ranges = run.ranges.data();
  int64_t row = run.rows;
  run.rows += chunk.rows;
  if (chunk.counted_together > 0) {
    capacity_ranges_.push_back({row, row + chunk.counted_together});
    row += chunk.counted_together;
  }
  for (; row < run.rows; ++row) capacity_ranges_.push_back({row, row + 1});
  // Their place does not move: the vector has room for every row.
  run.ranges = {ranges, capacity_ranges_.data() + capacity_ranges_.size()};
}

void MicroBatch::Continue(std::span<const SequenceChunk> chunks, std::span<const int32_t> rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    std::memmove(hidden() + i * hidden_width_, hidden() + rows[i] * hidden_width_,
                 hidden_width_ * sizeof(float));
  }
  Assign(chunks, phase_, expert_timeout_);
  CHECK(rows_ == std::ssize(rows)) << rows_ << " rows go on from " << rows.size();
}

}  // namespace switchyard::router
