#pragma once

// One choice: a Generate call to a router worker, taken up by another one when it breaks.

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gateway/text_assembler.h"
#include "gateway/worker_pool.h"
#include "services/base/clock.h"

namespace switchyard::gateway {

enum class FinishReason { kNone, kStop, kLength };

// What a choice has gained since the last one.
struct GenerationDelta {
  std::string text;  // settled; may lag behind the tokens
  std::vector<int32_t> token_ids;
  std::vector<v1::TokenLogprobs> logprobs;         // one per token id, when asked
  std::vector<v1::TokenLogprobs> prompt_logprobs;  // once, when asked
  uint32_t cached_tokens = 0;                      // once
  FinishReason finish = FinishReason::kNone;
  int32_t stop_token = -1;  // of the request's own stop tokens, the one that ended it
  std::string stop_string;  // the one that ended it; empty if none did
};

struct GenerationOptions {
  v1::GenerateRequest request;                      // with nothing generated yet
  SamplingFields sampling;                          // for the text
  const tokenizer::Tokenizer* tokenizer = nullptr;  // null: no text
  bool continues_text = false;
  std::string traceparent;  // W3C, passed on; empty: none
  Duration timeout = std::chrono::minutes(10);
  // How long a choice whose call broke may wait for a worker to take it up.
  Duration resume_time = std::chrono::seconds(15);

  // Called one at a time, from threads of gRPC. The last call is either on_delta with a finish
  // reason or on_error; after Cancel() there may be none.
  std::function<void(GenerationDelta)> on_delta;
  std::function<void(absl::Status)> on_error;
};

// Thread-safe. Keeps itself alive until its last callback.
class Generation : public std::enable_shared_from_this<Generation> {
 public:
  // Starts at once; on_error may be called before this returns. The pool and the tokenizer must
  // live until the callbacks are destroyed, which is when no more calls of them can come.
  static std::shared_ptr<Generation> Start(WorkerPool& pool, GenerationOptions options);
  ~Generation();

  // Ends the call, so that the worker frees what it holds.
  void Cancel();

 private:
  class Call;
  class Delay;

  Generation(WorkerPool& pool, GenerationOptions options);

  void Begin();
  void Ask(std::shared_ptr<Worker> worker);
  v1::GenerateRequest NextRequest() const;
  bool OnResponse(const v1::GenerateResponse& response);  // false: no more is wanted
  void AppendTokens(const v1::GenerateResponse& response, GenerationDelta* delta);
  void OnCallDone(absl::Status status, const Worker& worker);
  bool MayGoOn() const;
  bool MayResume(const absl::Status& status) const;
  bool Avoids(const Worker& worker) const;
  void Fail(absl::Status status);
  void DropCallbacks();

  WorkerPool& pool_;
  GenerationOptions options_;

  // Touched by the one call or delay under way only.
  TextAssembler text_;
  std::vector<int32_t> generated_;
  bool has_prompt_logprobs_ = false;
  bool finished_ = false;
  std::vector<uint64_t> avoided_;  // workers whose call broke or whose queue was full
  absl::Status full_;              // what the last one said whose queue was full
  TimePoint deadline_;
  TimePoint call_started_;
  std::optional<TimePoint> broken_since_;  // no token has come since

  std::mutex mutex_;
  bool cancelled_ = false;
  std::shared_ptr<grpc::ClientContext> call_context_;  // to cancel
};

}  // namespace switchyard::gateway
