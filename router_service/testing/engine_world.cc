#include "router_service/testing/engine_world.h"

#include <algorithm>
#include <random>
#include <utility>

namespace switchyard::router {

using std::chrono::milliseconds;

void UnreliableDispatcher::OnNextPoll(std::function<void()> what) {
  std::lock_guard lock(mutex_);
  on_poll_ = std::move(what);
}

void UnreliableDispatcher::Begin(const DispatchRequest& request) {
  EXPECT_FALSE(away_[request.micro_batch]) << "a micro-batch has one layer away at a time";
  away_[request.micro_batch] = true;
  deadlines_[request.micro_batch] = Clock::Real().Now() + request.timeout;
  rows_[request.micro_batch] = request.rows;
  layers_[request.micro_batch] = request.layer;
  timeout = request.timeout;
  ++begun;
  counting_ = false;
  local_->Begin(request);
}

bool UnreliableDispatcher::Finished(uint32_t index, absl::Status* status) {
  EXPECT_TRUE(away_[index]);
  if (held && Clock::Real().Now() < deadlines_[index]) return false;
  // Every other question is answered with "not yet", so that the batches overtake each other.
  if (!in_turn && (asked_++ % 2 == 0)) return false;
  away_[index] = false;
  const bool at_lost = layers_[index] == lost_layer;
  const bool lost = held || failures > 0 || (at_lost && spared == 0);
  if (at_lost && spared > 0) --spared;
  if (failures > 0) --failures;
  *status =
      lost ? absl::Status(failure.load(), "layer 0: expert 1 has no owner") : absl::OkStatus();
  return true;
}

DispatchResult UnreliableDispatcher::Result(uint32_t index) {
  const DispatchResult result = local_->Result(index);
  if (not_finite_row < 0 || not_finite_row >= rows_[index]) return result;
  results_.assign(result.begin(), result.end());
  results_[not_finite_row * (std::ssize(results_) / rows_[index])] = nullptr;
  return results_;
}

void UnreliableDispatcher::Wait(TimePoint deadline) {
  if (counting_) ++waits_since_poll;
  local_->Wait(std::min(deadline, Clock::Real().Now() + milliseconds(1)));
}

void UnreliableDispatcher::Poll() {
  std::function<void()> what;
  {
    std::lock_guard lock(mutex_);
    what = std::exchange(on_poll_, nullptr);
  }
  if (what) {
    what();
    counting_ = true;
  }
  local_->Wait(Clock::Real().Now());  // takes up a Wake, as driving a transport does
}

// Prompts of many lengths, half of them with a common beginning; greedy and sampled, a quarter with
// penalties.
std::vector<GenerateParameters> MixedRequests(int count) {
  std::mt19937 random(3);
  std::vector<GenerateParameters> requests;
  for (int i = 0; i < count; ++i) {
    GenerateParameters request;
    if (i % 2 == 0) {
      for (int32_t token = 0; token < 40; ++token) request.prompt.push_back(token);
    }
    const int64_t own = 1 + static_cast<int64_t>(random() % 40);
    for (int64_t j = 0; j < own; ++j) {
      request.prompt.push_back(static_cast<int32_t>(random() % kPoisonToken));
    }
    request.max_tokens = 5 + static_cast<int64_t>(random() % 25);
    request.sampling = {.temperature = i % 3 == 0 ? 0.0f : 0.8f,
                        .top_k = i % 3 == 1 ? 20 : 0,
                        .top_p = i % 3 == 2 ? 0.9f : 1.0f,
                        .min_p = i % 3 == 2 ? 0.02f : 0.0f,
                        .seed = static_cast<uint64_t>(i)};
    if (i % 4 == 1) {
      request.logit_edits = {.repetition_penalty = 1.4f,
                             .presence_penalty = 0.6f,
                             .frequency_penalty = 0.3f,
                             .bias = {{5, 1.5f}, {9, -2.0f}},
                             .bad_words = {{1, 2}, {3}}};
    }
    request.ignore_end_tokens = true;
    request.logprobs = 2;
    // A poisoned token in the answer would end it.
    request.stop_tokens = {kPoisonToken};
    requests.push_back(std::move(request));
  }
  return requests;
}

void ExpectSame(const Generated& a, const Generated& b) {
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_TRUE(a.status.ok()) << a.status;
  ASSERT_EQ(a.logprobs.size(), b.logprobs.size());
  for (size_t i = 0; i < a.logprobs.size(); ++i) {
    // Equal to the bit: the logits are.
    EXPECT_EQ(a.logprobs[i].logprob, b.logprobs[i].logprob);
    EXPECT_EQ(a.logprobs[i].rank, b.logprobs[i].rank);
    for (size_t j = 0; j < a.logprobs[i].top.size(); ++j) {
      EXPECT_EQ(a.logprobs[i].top[j].token, b.logprobs[i].top[j].token);
      EXPECT_EQ(a.logprobs[i].top[j].logprob, b.logprobs[i].top[j].logprob);
    }
  }
}

const std::vector<std::shared_ptr<Generated>>& AnswersOneAtATime() {
  static const auto* const answers = [] {
    auto* result = new std::vector<std::shared_ptr<Generated>>;
    World world;
    for (GenerateParameters request : MixedRequests(16)) {
      // Asking for these keeps pages from being shared.
      request.prompt_logprobs = 0;
      result->push_back(world.Run(request));
      EXPECT_EQ(result->back()->cached_tokens, 0);
    }
    return result;
  }();
  return *answers;
}

}  // namespace switchyard::router
