#include "router_service/engine.h"

#include <algorithm>

#include "gtest/gtest.h"
#include "router_service/testing/engine_world.h"

namespace switchyard::router {
namespace {

using std::chrono::milliseconds;

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

}  // namespace
}  // namespace switchyard::router
