#pragma once

// An engine over a tiny model with local experts, sinks that remember, and requests of many kinds.

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "kernels/device/cpu_device.h"
#include "router_service/engine.h"
#include "router_service/testing/local_dispatcher.h"
#include "router_service/testing/tiny_model.h"

namespace switchyard::router {

using Ids = std::vector<int32_t>;

inline constexpr Duration kPatience = std::chrono::seconds(120);

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
    if (piece.encoder) {
      for (const LayerRouting& layer : piece.routing) encoder_routing.push_back(layer.ids);
      return;
    }
    EXPECT_EQ(piece.first_position, positions);
    positions += piece.positions;
    logits.insert(logits.end(), piece.logits.begin(), piece.logits.end());
    token_nll.insert(token_nll.end(), piece.token_nll.begin(), piece.token_nll.end());
    mtp_logits.insert(mtp_logits.end(), piece.mtp_logits.begin(), piece.mtp_logits.end());
    mtp_hidden.insert(mtp_hidden.end(), piece.mtp_hidden.begin(), piece.mtp_hidden.end());
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
  std::vector<float> logits, mtp_logits, mtp_hidden;
  std::vector<double> token_nll;
  std::vector<std::vector<int32_t>> routing, encoder_routing;  // a layer
  absl::Status status;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
};

// Local experts that can be held back or lost. The knobs may be turned while the engine runs.
class UnreliableDispatcher : public ExpertDispatcher {
 public:
  explicit UnreliableDispatcher(std::unique_ptr<LocalDispatcher> local)
      : local_(std::move(local)) {}

  std::atomic<int> failures{0};         // layers still to be lost
  std::atomic<int64_t> lost_layer{-1};  // whose experts never answer, but for the next:
  std::atomic<int> spared{0};           // batches
  std::atomic<absl::StatusCode> failure{absl::StatusCode::kUnavailable};
  std::atomic<bool> held{false};            // nothing comes back
  std::atomic<bool> in_turn{true};          // the batch that was sent first is back first
  std::atomic<int64_t> not_finite_row{-1};  // of every batch: one of its experts has no answer
  std::atomic<int> begun{0};
  std::atomic<Duration> timeout{Duration{}};  // of the last layer begun

  // Runs once, inside the engine's next Poll and just before that takes up Wakes, as something does
  // that another thread does at that moment. Then counts the waits until a layer begins.
  void OnNextPoll(std::function<void()> what);
  std::atomic<int> waits_since_poll{0};

  void Begin(const DispatchRequest& request) override;
  bool Finished(uint32_t index, absl::Status* status) override;
  DispatchResult Result(uint32_t index) override;
  void Abandon(uint32_t index) override { away_[index] = false; }
  void Wait(TimePoint deadline) override;
  void Poll() override;
  void Wake() override { local_->Wake(); }

 private:
  std::unique_ptr<LocalDispatcher> local_;
  std::array<bool, kMicroBatches> away_{};
  std::array<TimePoint, kMicroBatches> deadlines_{};
  std::array<int64_t, kMicroBatches> rows_{};
  std::array<int64_t, kMicroBatches> layers_{};
  std::vector<const void*> results_;
  int asked_ = 0;
  bool counting_ = false;
  std::mutex mutex_;
  std::function<void()> on_poll_;
};

using MakeDevice = std::function<std::unique_ptr<kernels::Device>(kernels::ThreadPool&)>;

inline std::unique_ptr<kernels::Device> MakeCpuDevice(kernels::ThreadPool& pool) {
  return std::make_unique<kernels::CpuDevice>(pool);
}

// An engine over a model, by default the tiny one, on a device, by default the processor.
class World {
 public:
  explicit World(EngineOptions options = {}, int threads = 1,
                 const model::Checkpoint& checkpoint = TinyMoeCheckpoint(),
                 const MakeDevice& make_device = MakeCpuDevice)
      : pool_(threads), owned_device_(make_device(pool_)), device_(*owned_device_) {
    auto local = LocalDispatcher::Load(checkpoint, options.numerics, device_);
    EXPECT_TRUE(local.ok()) << local.status();
    dispatcher_ = std::make_unique<UnreliableDispatcher>(*std::move(local));
    auto engine = Engine::Start(checkpoint, options, device_, *dispatcher_, {});
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
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }

 private:
  kernels::ThreadPool pool_;
  std::unique_ptr<kernels::Device> owned_device_;
  kernels::Device& device_;
  std::unique_ptr<UnreliableDispatcher> dispatcher_;
  std::unique_ptr<Engine> engine_;
};

// Prompts of many lengths, half of them with a common beginning; greedy and sampled.
std::vector<GenerateParameters> MixedRequests(int count);

void ExpectSame(const Generated& a, const Generated& b);

// Answers to MixedRequests of an engine that has each request to itself.
const std::vector<std::shared_ptr<Generated>>& AnswersOneAtATime();

}  // namespace switchyard::router
