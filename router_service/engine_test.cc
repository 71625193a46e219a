#include "router_service/engine.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>

#include "gtest/gtest.h"
#include "router_service/testing/local_dispatcher.h"
#include "router_service/testing/tiny_model.h"

namespace switchyard::router {
namespace {

using Ids = std::vector<int32_t>;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kPatience = seconds(120);

class Generated : public GenerationSink {
 public:
  void Update(GenerationUpdate update) override {
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(ended_) << "an update after the end";
    tokens.insert(tokens.end(), update.tokens.begin(), update.tokens.end());
    for (TokenLogprobs& logprob : update.logprobs) logprobs.push_back(std::move(logprob));
    for (TokenLogprobs& logprob : update.prompt_logprobs) {
      prompt_logprobs.push_back(std::move(logprob));
    }
    cached_tokens += update.cached_tokens;
    finish = update.finish;
    stop_token = update.stop_token;
    ended_ = finish != FinishReason::kNone;
    changed_.notify_all();
  }
  void Fail(const absl::Status& failure) override {
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(ended_) << "a failure after the end";
    status = failure;
    ended_ = true;
    changed_.notify_all();
  }
  bool WaitEnd() {
    return Wait([this] { return ended_; });
  }
  bool WaitTokens(size_t count) {
    return Wait([this, count] { return ended_ || tokens.size() >= count; });
  }

  Ids tokens;
  std::vector<TokenLogprobs> logprobs, prompt_logprobs;
  int64_t cached_tokens = 0;
  FinishReason finish = FinishReason::kNone;
  int32_t stop_token = -1;
  absl::Status status;

 private:
  template <typename Condition>
  bool Wait(Condition condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, condition);
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
};

class Evaluated : public EvaluationSink {
 public:
  void Piece(EvaluationPiece piece) override {
    std::lock_guard lock(mutex_);
    EXPECT_EQ(piece.first_position, positions);
    positions += piece.positions;
    logits.insert(logits.end(), piece.logits.begin(), piece.logits.end());
    token_nll.insert(token_nll.end(), piece.token_nll.begin(), piece.token_nll.end());
    routing.resize(piece.routing.size());
    for (size_t i = 0; i < routing.size(); ++i) {
      routing[i].insert(routing[i].end(), piece.routing[i].ids.begin(), piece.routing[i].ids.end());
    }
    ended_ = piece.last;
    ++pieces;
    changed_.notify_all();
  }
  void Fail(const absl::Status& failure) override {
    std::lock_guard lock(mutex_);
    status = failure;
    ended_ = true;
    changed_.notify_all();
  }
  bool HasRoom() const override {
    std::lock_guard lock(mutex_);
    return pieces < max_pieces;
  }
  void Allow(int more) {
    std::lock_guard lock(mutex_);
    max_pieces = more;
  }
  bool WaitEnd() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [this] { return ended_; });
  }
  bool WaitPieces(int count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [this, count] { return pieces >= count; });
  }

  int64_t positions = 0;
  int pieces = 0;
  int max_pieces = 1 << 30;
  std::vector<float> logits;
  std::vector<double> token_nll;
  std::vector<std::vector<int32_t>> routing;
  absl::Status status;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
};

// Local experts that can be held back or lost. The knobs are atomics: tests turn them while the
// engine runs.
class UnreliableDispatcher : public ExpertDispatcher {
 public:
  explicit UnreliableDispatcher(std::unique_ptr<LocalDispatcher> local)
      : local_(std::move(local)) {}

  std::atomic<int> failures{0};     // layers still to be lost
  std::atomic<bool> held{false};    // nothing comes back
  std::atomic<bool> in_turn{true};  // the batch that was sent first is back first

  void Begin(const DispatchRequest& request) override {
    EXPECT_FALSE(away_[request.micro_batch]) << "a micro-batch has one layer away at a time";
    away_[request.micro_batch] = true;
    deadlines_[request.micro_batch] = request.deadline;
    local_->Begin(request);
  }
  bool Finished(uint32_t index, absl::Status* status) override {
    EXPECT_TRUE(away_[index]);
    if (held && Clock::Real().Now() < deadlines_[index]) return false;
    // Every other question is answered with "not yet", so that the batches overtake each other.
    if (!in_turn && (asked_++ % 2 == 0)) return false;
    away_[index] = false;
    const bool lost = held || failures > 0;
    if (failures > 0) --failures;
    *status = lost ? absl::UnavailableError("layer 0: expert 1 has no owner") : absl::OkStatus();
    return true;
  }
  DispatchResult Result(uint32_t index) override { return local_->Result(index); }
  void Abandon(uint32_t index) override { away_[index] = false; }
  void Wait(TimePoint deadline) override {
    local_->Wait(std::min(deadline, Clock::Real().Now() + milliseconds(1)));
  }
  void Poll() override {}
  void Wake() override { local_->Wake(); }

 private:
  std::unique_ptr<LocalDispatcher> local_;
  std::array<bool, kMicroBatches> away_{};
  std::array<TimePoint, kMicroBatches> deadlines_{};
  int asked_ = 0;
};

// An engine over the tiny model.
class World {
 public:
  explicit World(EngineOptions options = {}, int threads = 1) : pool_(threads) {
    auto local = LocalDispatcher::Load(TinyMoeCheckpoint(), options.numerics, pool_);
    EXPECT_TRUE(local.ok()) << local.status();
    dispatcher_ = std::make_unique<UnreliableDispatcher>(*std::move(local));
    auto engine = Engine::Start(TinyMoeCheckpoint(), options, pool_, *dispatcher_, {});
    EXPECT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }

  Engine& engine() { return *engine_; }
  UnreliableDispatcher& dispatcher() { return *dispatcher_; }
  void Stop() { engine_.reset(); }

  std::shared_ptr<Generated> Start(const GenerateParameters& parameters, uint64_t* id = nullptr) {
    auto sink = std::make_shared<Generated>();
    const auto submitted = engine_->Generate(parameters, sink);
    EXPECT_TRUE(submitted.ok()) << submitted.status();
    if (submitted.ok() && id != nullptr) *id = *submitted;
    return sink;
  }
  std::shared_ptr<Generated> Run(const GenerateParameters& parameters) {
    auto sink = Start(parameters);
    EXPECT_TRUE(sink->WaitEnd()) << "no end";
    return sink;
  }

  // Waits until the engine's state is as wanted.
  template <typename Condition>
  bool WaitStatus(Condition condition) {
    const TimePoint give_up = Clock::Real().Now() + kPatience;
    while (Clock::Real().Now() < give_up) {
      if (condition(engine_->Status())) return true;
      std::this_thread::sleep_for(milliseconds(1));
    }
    return false;
  }

 private:
  kernels::ThreadPool pool_;
  std::unique_ptr<UnreliableDispatcher> dispatcher_;
  std::unique_ptr<Engine> engine_;
};

// Prompts of many lengths, half of them with a common beginning; greedy and sampled.
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
                        .seed = static_cast<uint64_t>(i)};
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

// Answers of an engine that has each request to itself.
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

// Runs all at once and compares with one at a time.
SchedulerCounters RunTogether(World& world) {
  const std::vector<GenerateParameters> requests = MixedRequests(16);
  std::vector<std::shared_ptr<Generated>> answers;
  for (const GenerateParameters& request : requests) answers.push_back(world.Start(request));
  for (size_t i = 0; i < answers.size(); ++i) {
    EXPECT_TRUE(answers[i]->WaitEnd()) << "request " << i << " has no end";
    SCOPED_TRACE(i);
    ExpectSame(*answers[i], *AnswersOneAtATime()[i]);
  }
  EXPECT_TRUE(world.WaitStatus([](const EngineStatus& status) {
    return status.kv_pages_used == 0 && status.running == 0 && status.waiting == 0;
  }));
  return world.engine().Status().scheduler;
}

TEST(EngineTest, AnswersDoNotDependOnCompany) {
  World world;
  EXPECT_EQ(RunTogether(world).preemptions, 0u);
}

TEST(EngineTest, AnswersDoNotDependOnPrefixSharing) {
  World world;
  RunTogether(world);
  // The second time every prompt is cached.
  const uint64_t hits = world.engine().Status().scheduler.prefix_hits;
  EXPECT_GT(RunTogether(world).prefix_hits, hits);
}

TEST(EngineTest, AnswersDoNotDependOnPreemption) {
  World world({.kv_pages = 16, .scheduler = {.split_rows = 2}});
  EXPECT_GT(RunTogether(world).preemptions, 0u);
}

TEST(EngineTest, AnswersDoNotDependOnChunksThreadsStagesOrMicroBatches) {
  {
    World world({.stages = 2, .scheduler = {.max_batch_rows = 24, .prefill_chunk = 7}}, 2);
    RunTogether(world);
  }
  {
    World world({.micro_batches = 1, .scheduler = {.max_batch_rows = 3, .prefill_chunk = 1}});
    RunTogether(world);
  }
}

TEST(EngineTest, AnswersDoNotDependOnLateOrLostExperts) {
  World world({.scheduler = {.split_rows = 1}}, 2);
  world.dispatcher().in_turn = false;
  world.dispatcher().failures = 10;
  RunTogether(world);
  EXPECT_EQ(world.dispatcher().failures, 0);
}

TEST(EngineTest, GoesOnFromGeneratedTokens) {
  World world;
  for (size_t i : {0u, 1u, 2u}) {
    const Generated& whole = *AnswersOneAtATime()[i];
    GenerateParameters request = MixedRequests(3)[i];
    request.generated.assign(whole.tokens.begin(), whole.tokens.begin() + 3);
    EXPECT_EQ(world.Run(request)->tokens, Ids(whole.tokens.begin() + 3, whole.tokens.end()));
  }
}

TEST(EngineTest, AResumedRequestThatWasDoneEndsAtOnce) {
  World world;
  GenerateParameters request = {.prompt = {1}, .generated = {5, 7}, .max_tokens = 2};
  EXPECT_EQ(world.Run(request)->finish, FinishReason::kLength);
  request.max_tokens = 10;
  request.stop_tokens = {7};
  const auto stopped = world.Run(request);
  EXPECT_EQ(stopped->finish, FinishReason::kStop);
  EXPECT_EQ(stopped->stop_token, 7);
  EXPECT_TRUE(stopped->tokens.empty());
}

TEST(EngineTest, StopTokensEndARequestAndMinTokensKeepsThemOut) {
  World world;
  GenerateParameters request = MixedRequests(1)[0];
  const Ids whole = AnswersOneAtATime()[0]->tokens;
  request.stop_tokens = {whole[2]};
  const auto stopped = world.Run(request);
  const size_t first = std::find(whole.begin(), whole.end(), whole[2]) - whole.begin();
  EXPECT_EQ(stopped->tokens, Ids(whole.begin(), whole.begin() + first + 1));
  EXPECT_EQ(stopped->finish, FinishReason::kStop);
  EXPECT_EQ(stopped->stop_token, whole[2]);

  request.min_tokens = 5;
  request.max_tokens = 5;
  const auto later = world.Run(request);
  EXPECT_EQ(later->finish,
            later->tokens.back() == whole[2] ? FinishReason::kStop : FinishReason::kLength);
  EXPECT_EQ(later->tokens.size(), 5u);
  EXPECT_EQ(std::count(later->tokens.begin(), later->tokens.end(), whole[2]), 0);
}

TEST(EngineTest, PromptLogprobsEqualTheEvaluation) {
  World world({.scheduler = {.prefill_chunk = 9}});
  GenerateParameters request = MixedRequests(1)[0];
  request.prompt_logprobs = 3;
  request.max_tokens = 0;
  const auto scored = world.Run(request);
  EXPECT_TRUE(scored->tokens.empty());
  EXPECT_EQ(scored->finish, FinishReason::kLength);
  ASSERT_EQ(scored->prompt_logprobs.size(), request.prompt.size());
  EXPECT_EQ(scored->prompt_logprobs[0].token, -1);

  auto evaluated = std::make_shared<Evaluated>();
  ASSERT_TRUE(
      world.engine()
          .Evaluate({.tokens = request.prompt, .routing = true, .token_nll = true}, evaluated)
          .ok());
  ASSERT_TRUE(evaluated->WaitEnd());
  ASSERT_EQ(evaluated->token_nll.size(), request.prompt.size() - 1);
  for (size_t i = 1; i < request.prompt.size(); ++i) {
    EXPECT_EQ(scored->prompt_logprobs[i].token, request.prompt[i]);
    EXPECT_EQ(-double{scored->prompt_logprobs[i].logprob}, evaluated->token_nll[i - 1]);
    EXPECT_EQ(scored->prompt_logprobs[i].top.size(), 3u);
  }
  ASSERT_EQ(evaluated->routing.size(), 2u);
  EXPECT_EQ(evaluated->routing[0].size(), 2 * request.prompt.size());
}

TEST(EngineTest, EvaluationsWaitForRoom) {
  World world({.scheduler = {.prefill_chunk = 10}});
  auto evaluated = std::make_shared<Evaluated>();
  evaluated->Allow(2);
  ASSERT_TRUE(world.engine().Evaluate({.tokens = Ids(50, 3), .logits = true}, evaluated).ok());
  ASSERT_TRUE(evaluated->WaitPieces(2));
  // Others are not held up.
  EXPECT_EQ(world.Run({.prompt = {1}, .max_tokens = 3, .ignore_end_tokens = true})->tokens.size(),
            3u);
  EXPECT_FALSE(evaluated->HasRoom());
  evaluated->Allow(100);
  world.engine().Wake();
  ASSERT_TRUE(evaluated->WaitEnd());
  EXPECT_EQ(evaluated->pieces, 5);
  EXPECT_EQ(evaluated->logits.size(), 50u * kTinyVocabulary);
}

TEST(EngineTest, CancellingFreesPages) {
  World world;
  world.dispatcher().held = true;
  std::vector<uint64_t> ids(4);
  std::vector<std::shared_ptr<Generated>> sinks;
  for (uint64_t& id : ids) {
    sinks.push_back(
        world.Start({.prompt = Ids(60, 2), .max_tokens = 100, .ignore_end_tokens = true}, &id));
  }
  ASSERT_TRUE(world.WaitStatus([](const EngineStatus& s) { return s.kv_pages_used > 0; }));
  // Their experts do not come back, but nobody waits for them any more.
  for (const uint64_t id : ids) world.engine().Cancel(id);
  EXPECT_TRUE(world.WaitStatus([](const EngineStatus& s) {
    return s.kv_pages_used == 0 && s.running == 0 && s.waiting == 0;
  }));
  world.dispatcher().held = false;
  EXPECT_EQ(world.Run({.prompt = {1}, .max_tokens = 2, .ignore_end_tokens = true})->tokens.size(),
            2u);
}

TEST(EngineTest, CancellingOneLeavesTheOthers) {
  World world;
  const std::vector<GenerateParameters> requests = MixedRequests(8);
  std::vector<std::shared_ptr<Generated>> sinks;
  std::vector<uint64_t> ids(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) sinks.push_back(world.Start(requests[i], &ids[i]));
  ASSERT_TRUE(sinks[1]->WaitTokens(2));
  world.engine().Cancel(ids[1]);
  world.engine().Cancel(ids[6]);
  for (size_t i : {0u, 2u, 3u, 4u, 5u, 7u}) {
    ASSERT_TRUE(sinks[i]->WaitEnd());
    ExpectSame(*sinks[i], *AnswersOneAtATime()[i]);
  }
}

TEST(EngineTest, LostExpertsFailTheirRequestsWithTheReason) {
  World world({.expert_timeout = milliseconds(50)});
  world.dispatcher().held = true;
  const auto lost = world.Start({.prompt = Ids(20, 2)});
  ASSERT_TRUE(lost->WaitEnd());
  EXPECT_TRUE(absl::IsUnavailable(lost->status)) << lost->status;
  EXPECT_NE(lost->status.message().find("expert 1"), std::string::npos) << lost->status;
  EXPECT_TRUE(lost->tokens.empty());
  world.dispatcher().held = false;
  EXPECT_TRUE(world.Run(MixedRequests(1)[0])->status.ok());
}

TEST(EngineTest, ARequestWaitsForLostExpertsNoLongerThanItsDeadline) {
  World world({.expert_timeout = seconds(1000)});
  world.dispatcher().held = true;
  const auto patient = world.Start({.prompt = Ids(20, 2), .max_tokens = 2});
  const auto hurried =
      world.Start({.prompt = Ids(20, 3), .deadline = Clock::Real().Now() + milliseconds(50)});
  ASSERT_TRUE(hurried->WaitEnd());
  EXPECT_FALSE(hurried->status.ok());
  world.dispatcher().held = false;
  ASSERT_TRUE(patient->WaitEnd());
  EXPECT_TRUE(patient->status.ok()) << patient->status;
}

TEST(EngineTest, ADeadlineEndsAWaitingRequest) {
  World world({.scheduler = {.max_running = 1}});
  world.dispatcher().held = true;
  uint64_t first = 0;
  world.Start({.prompt = {1}, .max_tokens = 200, .ignore_end_tokens = true}, &first);
  const auto waiting =
      world.Start({.prompt = {1}, .deadline = Clock::Real().Now() + milliseconds(20)});
  ASSERT_TRUE(waiting->WaitEnd());
  EXPECT_TRUE(absl::IsDeadlineExceeded(waiting->status)) << waiting->status;
  world.engine().Cancel(first);
}

TEST(EngineTest, NotANumberFailsItsRequestOnly) {
  World world;
  const std::vector<GenerateParameters> requests = MixedRequests(4);
  std::vector<std::shared_ptr<Generated>> sinks;
  for (const GenerateParameters& request : requests) sinks.push_back(world.Start(request));
  const auto poisoned = world.Start({.prompt = {1, 2, kPoisonToken, 3}});
  ASSERT_TRUE(poisoned->WaitEnd());
  EXPECT_EQ(poisoned->status.code(), absl::StatusCode::kInternal) << poisoned->status;
  for (size_t i = 0; i < sinks.size(); ++i) {
    ASSERT_TRUE(sinks[i]->WaitEnd());
    ExpectSame(*sinks[i], *AnswersOneAtATime()[i]);
  }
}

TEST(EngineTest, RefusesMoreThanItsQueueHolds) {
  World world({.max_requests = 2});
  world.dispatcher().held = true;
  const auto sink = std::make_shared<Generated>();
  uint64_t id = 0;
  world.Start({.prompt = {1}}, &id);
  world.Start({.prompt = {1}});
  EXPECT_TRUE(absl::IsResourceExhausted(world.engine().Generate({.prompt = {1}}, sink).status()));
  world.engine().Cancel(id);
  world.dispatcher().held = false;
  EXPECT_TRUE(world.WaitStatus([](const EngineStatus& s) { return s.running + s.waiting < 2; }));
}

TEST(EngineTest, DrainsWhatItHasAndTakesNoMore) {
  World world;
  const auto running = world.Start(MixedRequests(1)[0]);
  EXPECT_TRUE(world.engine().Drain(kPatience));
  EXPECT_NE(running->finish, FinishReason::kNone);
  EXPECT_TRUE(absl::IsUnavailable(
      world.engine().Generate({.prompt = {1}}, std::make_shared<Generated>()).status()));
}

TEST(EngineTest, StoppingFailsWhatIsLeft) {
  World world;
  world.dispatcher().held = true;
  const auto running = world.Start({.prompt = Ids(100, 2)});
  EXPECT_FALSE(world.engine().Drain(milliseconds(20)));
  world.Stop();
  ASSERT_TRUE(running->WaitEnd());
  EXPECT_TRUE(absl::IsUnavailable(running->status));
}

}  // namespace
}  // namespace switchyard::router
