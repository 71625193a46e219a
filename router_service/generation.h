#pragma once

// The task behind a generate request: chooses tokens until an end token or the limit.

#include <memory>
#include <vector>

#include "router_service/request.h"
#include "router_service/task.h"

namespace switchyard::router {

class Generation : public Task {
 public:
  // `model_end_tokens`: the checkpoint's. Parameters are valid.
  Generation(GenerateParameters parameters, std::span<const int64_t> model_end_tokens,
             std::shared_ptr<GenerationSink> sink);

  bool FinishAtOnce() override;
  bool WantsLogits(int64_t position) const override;
  absl::Status TakeLogits(int64_t position, std::span<const float> logits,
                          Sampler& sampler) override;
  void EndEncoder(MicroBatch&, int64_t, int64_t) override {}
  ChunkOutcome EndChunk(MicroBatch& batch, int64_t first_row, int64_t rows) override;
  void Fail(const absl::Status& status) override { sink_->Fail(status); }

 private:
  int64_t prompt_tokens() const { return std::ssize(parameters_.prompt); }
  int64_t generated() const { return std::ssize(sequence.tokens) - prompt_tokens(); }
  absl::Status Choose(int64_t position, std::span<const float> logits, Sampler& sampler);
  bool IsEndToken(int32_t token) const;
  TokenLogprobs LogprobsOf(std::span<const float> logits, int32_t token, int32_t top) const;

  const GenerateParameters parameters_;
  const std::shared_ptr<GenerationSink> sink_;
  kernels::LogitEdits edits_;
  std::vector<int32_t> end_tokens_;
  int32_t chosen_ = -1;  // the next token, until its chunk ends
  TokenLogprobs chosen_logprobs_;
  std::vector<TokenLogprobs> prompt_logprobs_;
  bool updated_ = false;  // the first update is out
};

}  // namespace switchyard::router
