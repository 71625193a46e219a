#pragma once

// Attention of one layer, from the normed rows to what joins the residual stream: projections,
// norms of q and k, rope, the cache, attention itself, the output projection. Latent attention
// (DeepSeek) runs in its absorbed form for every row, prefill or decode, so that the cache holds
// latents only and a row's bits do not depend on how it was computed.

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/attention/relative_bias.h"
#include "kernels/base/buffer.h"
#include "kernels/base/numerics.h"
#include "kernels/device/device.h"
#include "kernels/rope/rope.h"
#include "router_service/micro_batch.h"
#include "services/model/checkpoint.h"
#include "services/model/model_spec.h"

namespace switchyard::router {

// Used by one thread. What it is given must outlive it; scratch grows to the largest batch seen.
class AttentionBlock {
 public:
  // `rope`: of sequences that bring no table.
  AttentionBlock(const model::ModelSpec& spec, const kernels::RopeTable& rope,
                 kernels::NumericsClass numerics, kernels::Device& device);

  struct Layer {
    const model::AttentionSpec& spec;
    const model::AttentionWeights& weights;
    const kernels::KvLayout& layout;
    void* cache;
    kernels::RelativeBiasTable relative_bias = {};
  };

  // From batch.wire_normed() to batch.projected(); the rows' keys and values are stored.
  void Run(MicroBatch& batch, const Layer& layer);

  // Attention to the encoder's output, whose keys and values StoreSource has stored: from
  // batch.wire_normed() to batch.projected().
  void RunCross(MicroBatch& batch, const Layer& layer);

  // Keys and values of a batch of the encoder, whose output is in batch.wire_normed().
  void StoreSource(MicroBatch& batch, const Layer& layer);

 private:
  struct Projection {
    const kernels::PackedMatrix& weights;
    const kernels::Floats& bias;
  };
  void Project(MicroBatch& batch, const Projection& projection, float* y, int64_t y_stride);
  void ProjectOutput(MicroBatch& batch, const Layer& layer, const void* attended);
  void RunHeads(MicroBatch& batch, const Layer& layer);
  void RunLatent(MicroBatch& batch, const Layer& layer);
  void ProjectHeads(MicroBatch& batch, const Layer& layer);
  void NormalizeHeads(MicroBatch& batch, const Layer& layer);
  void ProjectLatent(MicroBatch& batch, const Layer& layer);
  const float* AbsorbQueries(MicroBatch& batch, const Layer& layer);
  const void* ExpandValues(MicroBatch& batch, const Layer& layer);
  struct Queries {
    std::span<const kernels::AttentionSequence> sequences;
    const float* q;
    int64_t q_stride;
  };
  void Attend(MicroBatch& batch, const Layer& layer, const Queries& queries);
  void Rotate(const MicroBatch& batch, float* x, int64_t stride, int64_t heads, int64_t head_dim);
  const void* AsWire(const float* x, int64_t elements);
  void Reserve(kernels::Buffer& buffer, size_t bytes);
  void Multiply(const void* x, int64_t x_stride, int64_t rows, const kernels::PackedMatrix& w,
                float* y, int64_t y_stride);

  const model::ModelSpec& spec_;
  const kernels::RopeTable& rope_;
  const kernels::DType wire_;
  kernels::Device& device_;
  kernels::Buffer low_rank_, wire_low_rank_, queries_, values_, wire_copy_;
};

}  // namespace switchyard::router
