#include "router_service/mtp_input.h"

#include <utility>

namespace switchyard::router {

MtpInput::MtpInput(model::MtpWeights& weights, const model::ModelSpec& spec,
                   kernels::NumericsClass numerics, int64_t max_rows, kernels::Device& device)
    : spec_(spec),
      wire_(kernels::WireType(numerics)),
      device_(device),
      embedding_norm_(std::move(weights.embedding_norm)),
      hidden_norm_(std::move(weights.hidden_norm)),
      combine_(std::move(weights.combine)),
      embedding_(std::move(weights.embedding)),
      embedding_type_(weights.embedding_type),
      joined_(max_rows * 2 * spec.hidden * kernels::SizeOf(wire_)) {}

void MtpInput::Run(MicroBatch& batch) {
  const int64_t hidden = spec_.hidden;
  const auto normalize = [&](const float* x, const kernels::Floats& weight, int64_t column) {
    device_.RmsNorm({.x = x,
                     .weight = weight.data(),
                     .epsilon = spec_.norm_epsilon,
                     .rows = batch.rows(),
                     .width = hidden,
                     .y = joined_.As<char>() + column * kernels::SizeOf(wire_),
                     .y_stride = 2 * hidden,
                     .output_type = wire_});
  };
  device_.Embedding({.table = embedding_.data(),
                     .type = embedding_type_,
                     .width = hidden,
                     .ids = batch.tokens().data(),
                     .rows = batch.rows(),
                     .output = batch.projected()});
  normalize(batch.projected(), embedding_norm_, 0);
  normalize(batch.hidden(), hidden_norm_, hidden);
  device_.Matmul({.x = joined_.data(),
                  .x_stride = 2 * hidden,
                  .m = batch.rows(),
                  .w = &combine_,
                  .y = batch.hidden(),
                  .y_stride = hidden});
}

}  // namespace switchyard::router
