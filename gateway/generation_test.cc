// One choice in front of workers that break, are full or lack experts.

#include "gateway/generation.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <thread>
#include <utility>

#include "gateway/api_error.h"
#include "gateway/testing/fake_router_worker.h"

namespace switchyard::gateway {
namespace {

using testing::FakeBehaviour;
using testing::FakeRouterWorker;

constexpr Duration kPatience = std::chrono::seconds(10);
const FakeBehaviour kHealthy = {.script = {7}};
const absl::Status kLost = absl::UnavailableError("socket closed");
const absl::Status kFull = absl::ResourceExhaustedError("the queue is full");

template <typename Condition>
bool Eventually(Condition condition) {
  const TimePoint limit = Clock::Real().Now() + kPatience;
  while (!condition()) {
    if (Clock::Real().Now() >= limit) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

// What became of a choice.
struct Outcome {
  std::mutex mutex;
  std::condition_variable changed;
  bool over = false;
  absl::Status status;
  size_t tokens = 0;
};

class GenerationTest : public ::testing::Test {
 protected:
  // Two workers, of which the first alone is known as ready.
  void SetUp() override {
    b_->SetReady(false);
    pool_ = std::make_unique<WorkerPool>(
        WorkerPoolOptions{.router_addresses = {a_->address(), b_->address()},
                          .poll_interval = std::chrono::milliseconds(10)});
    ASSERT_TRUE(Eventually([this] { return Ready() == 1; }));
  }

  int Ready() const {
    int ready = 0;
    for (const WorkerReport& report : pool_->Reports()) {
      if (report.alive && report.status.ready()) ++ready;
    }
    return ready;
  }

  void AddSecond() {
    b_->SetReady(true);
    ASSERT_TRUE(Eventually([this] { return Ready() == 2; }));
  }

  std::shared_ptr<Generation> Start(Duration resume_time = std::chrono::milliseconds(300)) {
    outcome_ = std::make_shared<Outcome>();
    GenerationOptions options{.resume_time = resume_time};
    options.request.mutable_sampling()->set_temperature(0);
    options.request.set_max_tokens(4);
    for (int id = 0; id < 64; ++id) options.request.add_prompt_ids(id);
    options.on_delta = [outcome = outcome_](const GenerationDelta& delta) {
      std::lock_guard lock(outcome->mutex);
      outcome->tokens += delta.token_ids.size();
      outcome->over = delta.finish != FinishReason::kNone;
      outcome->changed.notify_all();
    };
    options.on_error = [outcome = outcome_](const absl::Status& status) {
      std::lock_guard lock(outcome->mutex);
      outcome->over = true;
      outcome->status = status;
      outcome->changed.notify_all();
    };
    return Generation::Start(*pool_, std::move(options));
  }

  absl::Status Wait() {
    std::unique_lock lock(outcome_->mutex);
    const bool over =
        outcome_->changed.wait_for(lock, kPatience, [this] { return outcome_->over; });
    return over ? outcome_->status : absl::DeadlineExceededError("not over");
  }

  // So that the next one prefers the first worker, which holds its prompt.
  void RunOneOnFirst() {
    Start();
    ASSERT_TRUE(Wait().ok());
    ASSERT_EQ(a_->Requests().size(), 1);
  }

  std::unique_ptr<FakeRouterWorker> a_ = std::make_unique<FakeRouterWorker>(kHealthy);
  std::unique_ptr<FakeRouterWorker> b_ = std::make_unique<FakeRouterWorker>(kHealthy);
  std::unique_ptr<WorkerPool> pool_;
  std::shared_ptr<Outcome> outcome_;
};

TEST_F(GenerationTest, WaitingInAQueueDoesNotUseUpTheTimeToResume) {
  a_->SetBehaviour({.script = {7}, .first_delay = std::chrono::seconds(1), .refuse = kLost});
  Start(std::chrono::milliseconds(200));
  AddSecond();
  EXPECT_TRUE(Wait().ok());
  EXPECT_EQ(outcome_->tokens, 4);
  EXPECT_EQ(a_->Requests().size(), 1);
}

TEST_F(GenerationTest, GivesUpWhenCallsKeepBreaking) {
  a_->SetBehaviour({.refuse = kLost});
  const TimePoint start = Clock::Real().Now();
  Start();
  EXPECT_TRUE(absl::IsUnavailable(Wait()));
  EXPECT_GE(Clock::Real().Now() - start, std::chrono::milliseconds(300));
}

TEST_F(GenerationTest, LostExpertsAreNotSoughtElsewhere) {
  RunOneOnFirst();
  AddSecond();
  a_->SetBehaviour({.refuse = absl::UnavailableError("x: no reachable host owns expert 3")});
  Start();
  EXPECT_TRUE(IsCapacityLost(Wait()));
  EXPECT_EQ(a_->Requests().size(), 2);
  EXPECT_TRUE(b_->Requests().empty());
}

TEST_F(GenerationTest, AFullQueueSendsItToAnotherWorker) {
  RunOneOnFirst();
  AddSecond();
  a_->SetBehaviour({.refuse = kFull});
  Start();
  EXPECT_TRUE(Wait().ok());
  EXPECT_EQ(b_->Requests().size(), 1);
}

TEST_F(GenerationTest, EveryFullQueueIsAskedOnce) {
  RunOneOnFirst();
  AddSecond();
  a_->SetBehaviour({.refuse = kFull});
  b_->SetBehaviour({.refuse = kFull});
  Start();
  EXPECT_TRUE(absl::IsResourceExhausted(Wait()));
  EXPECT_EQ(a_->Requests().size(), 2);
  EXPECT_EQ(b_->Requests().size(), 1);
}

TEST_F(GenerationTest, CancelEndsTheWaitForAWorker) {
  a_->SetBehaviour({.refuse = kLost});
  const auto generation = Start(/*resume_time=*/std::chrono::minutes(1));
  ASSERT_TRUE(Eventually([this] { return !a_->Requests().empty(); }));
  a_.reset();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // it waits for a worker now
  const std::weak_ptr<Outcome> callbacks = std::exchange(outcome_, nullptr);
  generation->Cancel();
  EXPECT_TRUE(Eventually([&] { return callbacks.expired(); }));
}

}  // namespace
}  // namespace switchyard::gateway
