#include "gateway/generation.h"

#include <grpcpp/alarm.h>

#include <algorithm>
#include <utility>

#include "gateway/api_error.h"
#include "services/base/log.h"
#include "services/runtime/grpc_client.h"
#include "services/runtime/grpc_status.h"

namespace switchyard::gateway {
namespace {

constexpr Duration kResumePause = std::chrono::milliseconds(100);

TimePoint Now() { return Clock::Real().Now(); }

}  // namespace

// One Generate call; deletes itself when it is done.
class Generation::Call : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  Call(std::shared_ptr<Generation> generation, std::shared_ptr<Worker> worker)
      : generation_(std::move(generation)),
        worker_(std::move(worker)),
        request_(generation_->NextRequest()),
        context_(runtime::NewContext(generation_->deadline_ - Now())) {
    const std::string& traceparent = generation_->options_.traceparent;
    if (!traceparent.empty()) context_->AddMetadata("traceparent", traceparent);
    ++worker_->in_flight;
  }

  void Start() {
    worker_->stub->async()->Generate(context_.get(), &request_, this);
    StartRead(&response_);
    StartCall();
  }

  std::shared_ptr<grpc::ClientContext> context() const { return context_; }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (generation_->OnResponse(response_)) {
      StartRead(&response_);
    } else {
      context_->TryCancel();
    }
  }

  void OnDone(const grpc::Status& status) override {
    --worker_->in_flight;
    {
      std::lock_guard<std::mutex> lock(generation_->mutex_);
      generation_->call_context_ = nullptr;
    }
    generation_->OnCallDone(runtime::FromGrpc(status), *worker_);
    delete this;
  }

 private:
  const std::shared_ptr<Generation> generation_;
  const std::shared_ptr<Worker> worker_;
  const v1::GenerateRequest request_;
  const std::shared_ptr<grpc::ClientContext> context_;
  v1::GenerateResponse response_;
};

// A pause before the next attempt; deletes itself when it is over.
class Generation::Delay {
 public:
  static void Start(std::shared_ptr<Generation> generation) {
    auto* delay = new Delay();
    delay->alarm_.Set(std::chrono::system_clock::now() + kResumePause,
                      [delay, generation = std::move(generation)](bool) {
                        generation->Begin();
                        delete delay;
                      });
  }

 private:
  grpc::Alarm alarm_;
};

Generation::Generation(WorkerPool& pool, GenerationOptions options)
    : pool_(pool),
      options_(std::move(options)),
      text_(options_.tokenizer, options_.sampling, options_.continues_text),
      deadline_(Now() + options_.timeout) {}

Generation::~Generation() = default;

std::shared_ptr<Generation> Generation::Start(WorkerPool& pool, GenerationOptions options) {
  std::shared_ptr<Generation> generation(new Generation(pool, std::move(options)));
  generation->Begin();
  return generation;
}

void Generation::Cancel() {
  std::shared_ptr<grpc::ClientContext> context;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    cancelled_ = true;
    context = call_context_;
  }
  // Without the lock: the call may end, and say so, at once.
  if (context != nullptr) context->TryCancel();
}

void Generation::Begin() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    finished_ = finished_ || cancelled_;
  }
  if (finished_) {
    DropCallbacks();
    return;
  }
  const auto& prompt = options_.request.prompt_ids();
  const auto worker = pool_.Pick({prompt.data(), static_cast<size_t>(prompt.size())}, avoided_);
  if (!full_.ok() && (worker == nullptr || Avoids(*worker))) {
    Fail(std::move(full_));
  } else if (worker != nullptr) {
    Ask(worker);
  } else if (MayGoOn()) {
    Delay::Start(shared_from_this());
  } else {
    // Before the first attempt the client may as well try again itself.
    Fail(absl::UnavailableError("no router worker"));
  }
}

void Generation::Ask(std::shared_ptr<Worker> worker) {
  Call* call = nullptr;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!cancelled_) {
      call = new Call(shared_from_this(), std::move(worker));
      call_context_ = call->context();
    }
  }
  if (call == nullptr) {
    DropCallbacks();
    return;
  }
  call_started_ = Now();
  call->Start();
}

v1::GenerateRequest Generation::NextRequest() const {
  v1::GenerateRequest request = options_.request;
  request.mutable_generated_ids()->Assign(generated_.begin(), generated_.end());
  if (has_prompt_logprobs_) request.set_prompt_logprobs(-1);
  return request;
}

void Generation::AppendTokens(const v1::GenerateResponse& response, GenerationDelta* delta) {
  const bool ends_by_token = response.finish() == v1::FINISH_STOP && response.stop_token() >= 0;
  for (int i = 0; i < response.token_ids_size(); ++i) {
    const int32_t id = response.token_ids(i);
    generated_.push_back(id);
    delta->token_ids.push_back(id);
    if (i < response.logprobs_size()) delta->logprobs.push_back(response.logprobs(i));
    // The token that ends the text is not part of it.
    const bool ends = ends_by_token && i + 1 == response.token_ids_size();
    if (!ends || options_.sampling.include_stop) delta->text += text_.Append(id);
    if (text_.stop() != nullptr) {
      delta->finish = FinishReason::kStop;
      delta->stop_string = *text_.stop();
      return;
    }
  }
}

bool Generation::OnResponse(const v1::GenerateResponse& response) {
  broken_since_ = std::nullopt;
  GenerationDelta delta;
  if (!has_prompt_logprobs_ && response.prompt_logprobs_size() > 0) {
    has_prompt_logprobs_ = true;
    delta.prompt_logprobs = {response.prompt_logprobs().begin(), response.prompt_logprobs().end()};
  }
  if (generated_.empty()) delta.cached_tokens = response.cached_tokens();
  AppendTokens(response, &delta);
  if (delta.finish == FinishReason::kNone && response.finish() != v1::FINISH_NONE) {
    delta.finish =
        response.finish() == v1::FINISH_STOP ? FinishReason::kStop : FinishReason::kLength;
    delta.text += text_.Finish();
    const auto& own = options_.sampling.stop_token_ids;
    if (std::find(own.begin(), own.end(), response.stop_token()) != own.end()) {
      delta.stop_token = response.stop_token();
    }
    if (text_.stop() != nullptr) {  // what was held back completed it
      delta.finish = FinishReason::kStop;
      delta.stop_string = *text_.stop();
    }
  }
  finished_ = delta.finish != FinishReason::kNone;
  options_.on_delta(std::move(delta));
  return !finished_;
}

bool Generation::MayGoOn() const {
  return broken_since_ && Now() < *broken_since_ + options_.resume_time;
}

bool Generation::MayResume(const absl::Status& status) const {
  // A worker that ends a call without a last token broke its promise: treated as lost. One that
  // has waited in vain for experts has not: the others lack the same experts.
  const bool lost = status.ok() || absl::IsUnavailable(status) || absl::IsAborted(status);
  return lost && !IsCapacityLost(status) && MayGoOn();
}

bool Generation::Avoids(const Worker& worker) const {
  return std::find(avoided_.begin(), avoided_.end(), worker.id) != avoided_.end();
}

void Generation::OnCallDone(absl::Status status, const Worker& worker) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (cancelled_) finished_ = true;
  }
  if (finished_) {
    DropCallbacks();
    return;
  }
  if (absl::IsResourceExhausted(status)) {  // another one's queue may have room
    full_ = std::move(status);
    avoided_.push_back(worker.id);
    Begin();
    return;
  }
  // A call that stood for long did not break at once like the one before it.
  const TimePoint now = Now();
  if (!broken_since_ || now - call_started_ >= options_.resume_time) broken_since_ = now;
  if (!MayResume(status)) {
    Fail(status.ok() ? absl::UnavailableError("the call ended early") : std::move(status));
    return;
  }
  LogWarning() << "request " << options_.request.request_id() << ": router worker " << worker.name
               << " is lost after " << generated_.size() << " tokens (" << status.message()
               << "); going on with another";
  full_ = absl::OkStatus();
  pool_.ReportBroken(worker);
  if (Avoids(worker)) {
    Delay::Start(shared_from_this());  // no storm of calls to the only worker there is
  } else {
    avoided_.push_back(worker.id);
    Begin();
  }
}

void Generation::Fail(absl::Status status) {
  finished_ = true;
  options_.on_error(std::move(status));
  DropCallbacks();
}

// They hold the owner of this generation.
void Generation::DropCallbacks() {
  options_.on_delta = nullptr;
  options_.on_error = nullptr;
}

}  // namespace switchyard::gateway
