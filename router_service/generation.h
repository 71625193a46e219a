#pragma once

// The task behind a generate request: chooses tokens until an end token or the limit.

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/sampling/logit_edits.h"
#include "router_service/request.h"
#include "router_service/task.h"

namespace switchyard::router {

class Generation : public Task {
 public:
  // `model_end_tokens`: the checkpoint's. Parameters are valid. `max_drafts`: most tokens guessed
  // ahead.
  Generation(GenerateParameters parameters, std::span<const int64_t> model_end_tokens,
             int64_t max_drafts, std::shared_ptr<GenerationSink> sink);

  bool FinishAtOnce() override;
  bool WantsLogits(int64_t position) const override;
  const kernels::SamplingParameters* SamplingAt(int64_t position) const override;
  bool EditsLogits(int64_t position) const override;
  void EditLogits(int64_t position, std::span<const float> logits,
                  std::span<float> edited) override;
  absl::Status TakeLogits(int64_t position, std::span<const float> logits, int32_t token) override;
  void EndEncoder(MicroBatch&, int64_t, int64_t) override {}
  std::span<const int32_t> chosen() const override { return chosen_; }
  MtpUse mtp_use() const override { return MtpUse::kGuess; }
  bool WantsMtpLogits(int64_t position) const override;
  void TakeMtpLogits(int64_t position, std::span<const float> logits, int32_t token) override;
  void Discard() override;
  ChunkOutcome EndChunk(MicroBatch& batch, int64_t first_row, int64_t rows) override;
  void Fail(const absl::Status& status) override { sink_->Fail(status); }

 private:
  int64_t prompt_tokens() const { return std::ssize(parameters_.prompt); }
  int64_t generated() const { return std::ssize(sequence.tokens) - prompt_tokens(); }
  void ObserveOutput();
  bool IsEndToken(int32_t token) const;
  bool MayEnd(int64_t position) const;
  absl::Status NoToken(int64_t position, std::span<const float> logits) const;
  std::span<const int32_t> DraftsBefore(int64_t position) const;
  bool DraftsHold(int64_t position) const;
  bool DraftsMayHold(int64_t position) const;
  TokenLogprobs LogprobsOf(std::span<const float> logits, int32_t token, int32_t top) const;

  const GenerateParameters parameters_;
  const std::shared_ptr<GenerationSink> sink_;
  std::optional<kernels::LogitEdits> edits_;  // has seen `chosen_`, too
  std::vector<int32_t> end_tokens_;
  // The next tokens until their chunk ends, several where drafts were right.
  std::vector<int32_t> chosen_;
  std::vector<TokenLogprobs> chosen_logprobs_;
  std::vector<TokenLogprobs> prompt_logprobs_;
  bool updated_ = false;  // the first update is out
};

}  // namespace switchyard::router
