#pragma once

// What a router worker is asked to do, as values, and what it answers. Sinks belong to whoever
// asks; the engine calls them from its own thread, so they must return at once and not block.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kernels/sampling/logit_edits.h"
#include "kernels/sampling/sampling.h"
#include "services/base/clock.h"
#include "services/model/whole_rows.h"

namespace switchyard::router {

struct GenerateParameters {
  std::string request_id;  // for the log; may be empty
  std::vector<int32_t> prompt;
  std::vector<int32_t> generated;  // chosen already, here or elsewhere: goes on after these
  kernels::SamplingParameters sampling;
  kernels::LogitEditParameters logit_edits;
  int64_t max_tokens = 16;  // in all, counting `generated`; 0: only the prompt's log probabilities
  int64_t min_tokens = 0;   // end tokens are not chosen before
  std::vector<int32_t> stop_tokens;  // end it besides the model's own end tokens
  bool ignore_end_tokens = false;    // the model's own do not end it
  int32_t logprobs = -1;             // -1: none; else how many alternatives a token
  int32_t prompt_logprobs = -1;      // the same for the prompt's own tokens
  TimePoint deadline = TimePoint::max();
};

enum class FinishReason { kNone, kStop, kLength };

struct TokenLogprobs {
  int32_t token = -1;  // -1: the first of a prompt, which nothing predicts
  float logprob = 0;
  int32_t rank = 0;  // 0: the most likely
  std::vector<kernels::TokenLogprob> top;
};

struct GenerationUpdate {
  std::vector<int32_t> tokens;                 // new ones; an end token is the last of them
  std::vector<TokenLogprobs> logprobs;         // one a token, when asked
  std::vector<TokenLogprobs> prompt_logprobs;  // one a token of the prompt; first update only
  int64_t cached_tokens = 0;                   // of the prompt; first update only
  FinishReason finish = FinishReason::kNone;   // set in the last update
  int32_t stop_token = -1;                     // which token ended it
};

class GenerationSink {
 public:
  virtual ~GenerationSink() = default;
  virtual void Update(GenerationUpdate update) = 0;
  virtual void Fail(const absl::Status& status) = 0;  // instead of a last update
};

struct EvaluateParameters {
  std::vector<int32_t> tokens;
  std::vector<int32_t> source;  // what the encoder reads; then `tokens` are the decoder's
  bool logits = false;
  bool routing = false;
  bool token_nll = false;
  bool mtp = false;  // what the block for multi-token prediction computes
  TimePoint deadline = TimePoint::max();
};

struct LayerRouting {
  int64_t layer = 0;
  std::vector<int32_t> ids;    // [positions][k], rank order, as the router chose
  std::vector<float> weights;  // [positions][k]; 0 where a capacity dropped the choice
};

// Consecutive positions; pieces come in order. Of a model with an encoder the first piece is its
// routing of the whole source.
struct EvaluationPiece {
  bool encoder = false;
  int64_t first_position = 0;
  int64_t positions = 0;
  std::vector<float> logits;          // [positions][vocabulary]
  std::vector<LayerRouting> routing;  // one a MoE layer
  std::vector<double> token_nll;  // of the token after each position; the last position has none
  // Of the block for multi-token prediction, which has no row at the last position either.
  int64_t mtp_positions = 0;
  std::vector<float> mtp_logits;  // [mtp_positions][vocabulary], about the second token after each
  std::vector<float> mtp_hidden;  // [mtp_positions][hidden], before its final norm
  std::vector<LayerRouting> mtp_routing;  // none or one; its layer is the number of layers
  bool last = false;
};

class EvaluationSink {
 public:
  virtual ~EvaluationSink() = default;
  virtual void Piece(EvaluationPiece piece) = 0;
  virtual void Fail(const absl::Status& status) = 0;
  // False while pieces pile up: no more are computed. Call Engine::Wake when there is room again.
  virtual bool HasRoom() const = 0;
};

struct RequestLimits {
  int64_t vocabulary = 0;
  int64_t max_positions = 0;  // of prompt and generated tokens together
  int64_t max_whole = 0;      // rows that must be computed together
  model::WholeRows whole;     // which those are
  bool mtp = false;           // has the block for multi-token prediction
};

// INVALID_ARGUMENT naming the field, by its name in proto/router_worker.proto.
absl::Status Validate(const GenerateParameters& parameters, const RequestLimits& limits);
absl::Status Validate(const EvaluateParameters& parameters, const RequestLimits& limits);

}  // namespace switchyard::router
