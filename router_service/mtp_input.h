#pragma once

// What enters the block for multi-token prediction (DeepSeek-V3, arXiv 2412.19437, section 2.2;
// tensors as in the checkpoints on the hub). At position t, with h_t the model's state after its
// final norm:
//
//   x_t = eh_proj([enorm(embedding of token t + 1), hnorm(h_t)])
//
// Behind it the block is one more layer of the model with a cache of its own at the same positions,
// a final norm and a head. It guesses token t + 2.

#include <cstdint>

#include "kernels/base/buffer.h"
#include "kernels/base/numerics.h"
#include "kernels/device/device.h"
#include "router_service/micro_batch.h"
#include "services/model/checkpoint.h"
#include "services/model/model_spec.h"

namespace switchyard::router {

// Used by one thread. Spec and device must outlive it.
class MtpInput {
 public:
  // Takes all of `weights` but the stage.
  MtpInput(model::MtpWeights& weights, const model::ModelSpec& spec,
           kernels::NumericsClass numerics, int64_t max_rows, kernels::Device& device);

  // batch.hidden(): from h_t to x_t. batch.tokens() are the tokens t + 1 of its rows.
  void Run(MicroBatch& batch);

 private:
  const model::ModelSpec& spec_;
  const kernels::DType wire_;
  kernels::Device& device_;
  const kernels::Floats embedding_norm_, hidden_norm_;
  const kernels::PackedMatrix combine_;
  const kernels::Buffer embedding_;
  const kernels::DType embedding_type_;
  kernels::Buffer joined_;  // [rows][2 * hidden], wire
};

}  // namespace switchyard::router
