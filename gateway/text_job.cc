#include "gateway/text_job.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "gateway/api_error.h"

namespace switchyard::gateway {
namespace {

// Calls of one HTTP request at a time; the others follow.
constexpr size_t kMaxUnderWay = 64;

constexpr char kPing[] = ": ping\n\n";

TimePoint Now() { return Clock::Real().Now(); }

// Choice 0 has the request's own seed, the others numbers that depend on it (SplitMix64).
uint64_t ChoiceSeed(uint64_t seed, int choice) {
  if (choice == 0) return seed;
  uint64_t mixed = seed + 0x9E3779B97F4A7C15u * static_cast<uint64_t>(choice);
  mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u;
  mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
  return mixed ^ (mixed >> 31);
}

}  // namespace

TextJob::TextJob(TextJobOptions options, WorkerPool& pool, Metrics& metrics,
                 std::shared_ptr<HttpExchange> exchange)
    : options_(std::move(options)),
      pool_(pool),
      metrics_(metrics),
      exchange_(std::move(exchange)),
      started_(Now()),
      created_(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now())) {
  for (size_t p = 0; p < options_.prompts.size(); ++p) {
    const TextPrompt& prompt = options_.prompts[p];
    for (int number = 0; number < options_.sampling.n; ++number) {
      const int index = static_cast<int>(choices_.size());
      choices_.push_back({.answer = ChoiceAnswer(options_.answer, index, prompt.ids, prompt.text),
                          .prompt = &prompt,
                          .number = number,
                          .max_tokens = options_.max_tokens[p]});
    }
  }
  unfinished_ = choices_.size();
}

void TextJob::Start(TextJobOptions options, WorkerPool& pool, Metrics& metrics,
                    const std::shared_ptr<HttpExchange>& exchange) {
  std::shared_ptr<TextJob> job(new TextJob(std::move(options), pool, metrics, exchange));
  exchange->OnDisconnect([weak = job->weak_from_this()] {
    if (const auto job = weak.lock()) job->OnGone();
  });
  for (const TextPrompt& prompt : job->options_.prompts) {
    metrics.CountPromptTokens(prompt.ids.size());
  }
  job->StartMore();
}

GenerationOptions TextJob::OptionsOf(size_t index) {
  const Choice& choice = choices_[index];
  const SamplingFields& sampling = options_.sampling;
  GenerationOptions generation{.sampling = sampling,
                               .tokenizer = options_.answer.tokenizer,
                               .continues_text = options_.continues_text,
                               .traceparent = options_.traceparent,
                               .timeout = options_.timeout};
  v1::GenerateRequest& request = generation.request;
  request.set_request_id(options_.request_id + "-" + std::to_string(index));
  request.mutable_prompt_ids()->Assign(choice.prompt->ids.begin(), choice.prompt->ids.end());
  request.mutable_sampling()->set_temperature(sampling.temperature);
  request.mutable_sampling()->set_top_k(sampling.top_k);
  request.mutable_sampling()->set_top_p(sampling.top_p);
  request.mutable_sampling()->set_min_p(sampling.min_p);
  SetLogitFields(sampling.logits, request.mutable_sampling());
  generation.sampling.logits = {};  // large, and of no use for text
  request.mutable_sampling()->set_seed(ChoiceSeed(options_.seed, choice.number));
  request.set_max_tokens(choice.max_tokens);
  request.mutable_stop_token_ids()->Assign(sampling.stop_token_ids.begin(),
                                           sampling.stop_token_ids.end());
  request.set_ignore_eos(sampling.ignore_eos);
  request.set_min_tokens(sampling.min_tokens);
  request.set_logprobs(options_.answer.logprobs);
  request.set_prompt_logprobs(options_.answer.echo
                                  ? std::max(options_.answer.logprobs, sampling.prompt_logprobs)
                                  : sampling.prompt_logprobs);
  generation.on_delta = [self = shared_from_this(), index](GenerationDelta delta) {
    self->OnDelta(index, std::move(delta));
  };
  generation.on_error = [self = shared_from_this()](const absl::Status& status) {
    self->OnError(status);
  };
  return generation;
}

void TextJob::StartMore() {
  while (true) {
    size_t index = 0;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (over_ || next_ == choices_.size() || under_way_ == kMaxUnderWay) return;
      index = next_++;
      ++under_way_;
    }
    // Without the lock: it may call back at once.
    auto generation = Generation::Start(pool_, OptionsOf(index));
    bool over = false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      over = over_;
      if (!choices_[index].finished) choices_[index].generation = generation;
    }
    if (over) generation->Cancel();
  }
}

void TextJob::Observe(Choice& choice, const GenerationDelta& delta) {
  if (choice.number == 0) cached_tokens_ += delta.cached_tokens;
  if (delta.token_ids.empty()) return;
  metrics_.CountGeneratedTokens(delta.token_ids.size());
  const TimePoint now = Now();
  if (!choice.last_token) {
    metrics_.ObserveTimeToFirstToken(now - started_);
  } else {
    metrics_.ObserveInterTokenLatency((now - *choice.last_token) / delta.token_ids.size());
  }
  choice.last_token = now;
}

void TextJob::OnDelta(size_t index, GenerationDelta delta) {
  bool start_more = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (over_) return;
    Choice& choice = choices_[index];
    Observe(choice, delta);
    const FinishReason finish = delta.finish;
    choice.answer.Add(std::move(delta));
    if (options_.answer.stream && choice.answer.HasNews()) SendChunk(choice);
    if (finish == FinishReason::kNone) return;
    metrics_.CountFinished(finish == FinishReason::kStop ? "stop" : "length");
    choice.finished = true;
    choice.generation.reset();
    --under_way_;
    --unfinished_;
    start_more = unfinished_ > 0;
    if (!start_more) {
      over_ = true;
      metrics_.ObserveRequestLatency(Now() - started_);
      options_.answer.stream ? CompleteStream() : CompleteWhole();
    }
  }
  if (start_more) StartMore();
}

void TextJob::OnError(const absl::Status& status) {
  if (!EndAll("error")) return;
  std::lock_guard<std::mutex> lock(mutex_);
  const ApiError error = FromWorkerStatus(status);
  if (streaming_) {
    exchange_->Write(SseEvent(ErrorJson(error)));
    exchange_->Finish();
    return;
  }
  HttpResponse response = ErrorResponse(error);
  response.headers.insert(response.headers.end(), options_.headers.begin(), options_.headers.end());
  metrics_.CountHttpResponse(response.status);
  exchange_->Send(std::move(response));
}

void TextJob::OnGone() { EndAll("abort"); }

bool TextJob::EndAll(const char* reason) {
  std::vector<std::shared_ptr<Generation>> generations;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (std::exchange(over_, true)) return false;
    metrics_.CountFinished(reason);
    for (const Choice& choice : choices_) {
      if (choice.generation != nullptr) generations.push_back(choice.generation);
    }
  }
  // Without the lock: what is cancelled may call back.
  for (const auto& generation : generations) generation->Cancel();
  return true;
}

Json TextJob::Envelope() const {
  const bool chat = options_.answer.chat;
  const char* object = !chat                    ? "text_completion"
                       : options_.answer.stream ? "chat.completion.chunk"
                                                : "chat.completion";
  return {{"id", (chat ? "chatcmpl-" : "cmpl-") + options_.request_id},
          {"object", object},
          {"created", created_},
          {"model", options_.model}};
}

Usage TextJob::TotalUsage() const {
  Usage usage{.cached_tokens = cached_tokens_};
  for (const TextPrompt& prompt : options_.prompts) usage.prompt_tokens += prompt.ids.size();
  for (const Choice& choice : choices_) usage.completion_tokens += choice.answer.generated();
  return usage;
}

void TextJob::BeginStream() {
  if (std::exchange(streaming_, true)) return;
  metrics_.CountHttpResponse(200);
  exchange_->StartStream(
      {.status = 200, .content_type = "text/event-stream", .headers = options_.headers}, kPing);
}

void TextJob::SendChunk(Choice& choice) {
  BeginStream();
  Json chunk = Envelope();
  chunk["choices"] = Json::array({choice.answer.Take()});
  if (options_.sampling.include_usage) chunk["usage"] = nullptr;
  exchange_->Write(SseEvent(Dump(chunk)));
}

void TextJob::CompleteStream() {
  BeginStream();
  if (options_.sampling.include_usage) {
    Json chunk = Envelope();
    chunk["choices"] = Json::array();
    chunk["usage"] = UsageJson(TotalUsage());
    exchange_->Write(SseEvent(Dump(chunk)));
  }
  exchange_->Write(SseEvent("[DONE]"));
  exchange_->Finish();
}

void TextJob::CompleteWhole() {
  Json answer = Envelope();
  answer["choices"] = Json::array();
  for (Choice& choice : choices_) {
    Json entry = choice.answer.Take();
    if (options_.answer.token_ids) entry["prompt_token_ids"] = choice.prompt->ids;
    answer["choices"].push_back(std::move(entry));
  }
  answer["usage"] = UsageJson(TotalUsage());
  metrics_.CountHttpResponse(200);
  exchange_->Send({.status = 200, .body = Dump(answer), .headers = options_.headers});
}

}  // namespace switchyard::gateway
