// Speculative decoding by multi-token prediction: the same answers as without it, from a checkpoint
// whose block guesses about two of five greedy tokens.

#include <algorithm>
#include <string>

#include "bazel/fixtures/fixtures.h"
#include "gtest/gtest.h"
#include "kernels/device/cpu_device.h"
#include "router_service/engine.h"
#include "router_service/testing/engine_world.h"
#include "router_service/testing/expected_ids.h"

namespace switchyard::router {
namespace {

class EngineMtpTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SWITCHYARD_FIXTURE_OR_SKIP(folder, "own_models/deepseek_v3_mtp");
    auto opened = model::Checkpoint::Open(folder);
    ASSERT_TRUE(opened.ok()) << opened.status();
    checkpoint_ = std::make_unique<model::Checkpoint>(*std::move(opened));
    greedy_prompt_ = ExpectedIds(folder, "greedy_prompt");
  }

  std::unique_ptr<World> NewWorld(EngineOptions options, int threads = 1) {
    return std::make_unique<World>(options, threads, *checkpoint_);
  }

  // Prompts of all kinds, and one that the block was fitted to: greedy, and sampled with several
  // seeds.
  std::vector<GenerateParameters> Requests() const {
    std::vector<GenerateParameters> requests = MixedRequests(12);
    for (uint64_t seed = 0; seed < 4; ++seed) {
      requests.push_back({.prompt = greedy_prompt_,
                          .sampling = {.temperature = seed == 0 ? 0.0f : 0.7f,
                                       .top_p = seed == 2 ? 0.8f : 1.0f,
                                       .seed = seed},
                          .max_tokens = 60,
                          .min_tokens = 10,
                          .ignore_end_tokens = seed < 2,
                          .logprobs = 3});
    }
    // What depends on the tokens before.
    for (const float temperature : {0.0f, 0.7f}) {
      GenerateParameters request = {.prompt = greedy_prompt_,
                                    .sampling = {.temperature = temperature, .seed = 8},
                                    .max_tokens = 60,
                                    .ignore_end_tokens = true};
      request.logit_edits = {.repetition_penalty = 1.1f,
                             .presence_penalty = 0.3f,
                             .frequency_penalty = 0.2f,
                             .bad_words = {{7}, {19, 68}}};
      requests.push_back(std::move(request));
    }
    return requests;
  }

  using Answers = std::vector<std::shared_ptr<Generated>>;
  static Answers RunAll(World& world, const std::vector<GenerateParameters>& requests) {
    Answers answers;
    for (const GenerateParameters& request : requests) answers.push_back(world.Start(request));
    for (const auto& answer : answers) EXPECT_TRUE(answer->WaitEnd());
    return answers;
  }

  // Without guesses, each request alone.
  Answers Plain(const std::vector<GenerateParameters>& requests) {
    const auto world = NewWorld({});
    Answers answers;
    for (const GenerateParameters& request : requests) answers.push_back(world->Run(request));
    EXPECT_EQ(world->engine().Status().draft_tokens, 0u);
    return answers;
  }

  static void ExpectAllSame(const Answers& a, const Answers& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      SCOPED_TRACE(i);
      ExpectSame(*a[i], *b[i]);
      EXPECT_EQ(a[i]->finish, b[i]->finish);
      EXPECT_EQ(a[i]->stop_token, b[i]->stop_token);
    }
  }

  // Runs all at once, twice: the second time prompts come from the cache.
  void ExpectSameWith(const EngineOptions& options, int threads = 1) {
    const auto world = NewWorld(options, threads);
    for (int time = 0; time < 2; ++time) ExpectAllSame(RunAll(*world, Requests()), plain());
    ExpectAccepted(*world);
  }

  static void ExpectAccepted(World& world) {
    const EngineStatus status = world.engine().Status();
    EXPECT_GT(status.accepted_draft_tokens, 0u);
    EXPECT_GT(status.draft_tokens, status.accepted_draft_tokens);
    EXPECT_TRUE(world.WaitStatus([](const EngineStatus& s) { return s.kv_pages_used == 0; }));
  }

  // A token of whose repetition the block guesses that it goes on.
  int32_t TokenGuessedBehindItself() {
    const auto world = NewWorld({.draft_tokens = 1});
    const int64_t vocabulary = checkpoint_->spec().vocabulary;
    for (int32_t token = 0; token < vocabulary; ++token) {
      auto result = std::make_shared<Evaluated>();
      EXPECT_TRUE(world->engine().Evaluate({.tokens = Ids(20, token), .mtp = true}, result).ok());
      EXPECT_TRUE(result->WaitEnd());
      bool all = true;
      for (auto row = result->mtp_logits.begin() + 8 * vocabulary; row < result->mtp_logits.end();
           row += vocabulary) {
        all &= std::max_element(row, row + vocabulary) - row == token;
      }
      if (all) return token;
    }
    ADD_FAILURE() << "no token";
    return 0;
  }

  const Answers& plain() {
    if (plain_.empty()) plain_ = Plain(Requests());
    return plain_;
  }

  std::unique_ptr<model::Checkpoint> checkpoint_;
  Ids greedy_prompt_;
  Answers plain_;
};

TEST_F(EngineMtpTest, AnswersAreTheSameForAnyNumberOfGuesses) {
  for (const int64_t drafts : {1, 2, 4}) {
    SCOPED_TRACE(drafts);
    ExpectSameWith({.draft_tokens = drafts});
  }
}

TEST_F(EngineMtpTest, AnswersAreTheSameInClassBf16) {
  const auto without = NewWorld({.numerics = kernels::NumericsClass::kBf16});
  const auto with = NewWorld({.numerics = kernels::NumericsClass::kBf16, .draft_tokens = 2});
  ExpectAllSame(RunAll(*with, Requests()), RunAll(*without, Requests()));
}

TEST_F(EngineMtpTest, AnswersAreTheSameForChunksStagesThreadsAndSmallBatches) {
  ExpectSameWith({.stages = 3,
                  .draft_tokens = 1,
                  .scheduler = {.max_batch_rows = 24, .prefill_chunk = 7, .split_rows = 2}},
                 2);
  ExpectSameWith({.micro_batches = 1,
                  .draft_tokens = 3,
                  .scheduler = {.max_batch_rows = 3, .prefill_chunk = 1}});
}

TEST_F(EngineMtpTest, AnswersAreTheSameUnderPreemption) {
  // All together need 42 pages before they end.
  std::vector<GenerateParameters> requests = Requests();
  requests.erase(requests.begin(), requests.begin() + 12);
  for (GenerateParameters& request : requests) {
    request.max_tokens = 100;
    request.ignore_end_tokens = true;
  }
  const auto world = NewWorld({.kv_pages = 16, .draft_tokens = 2, .scheduler = {.split_rows = 2}});
  world->dispatcher().held = true;
  Answers answers;
  for (const GenerateParameters& request : requests) answers.push_back(world->Start(request));
  world->dispatcher().held = false;
  for (const auto& answer : answers) EXPECT_TRUE(answer->WaitEnd());
  ExpectAllSame(answers, Plain(requests));
  EXPECT_GT(world->engine().Status().scheduler.preemptions, 0u);
  ExpectAccepted(*world);
}

TEST_F(EngineMtpTest, AnswersAreTheSameWithLateAndLostExperts) {
  const auto world = NewWorld({.draft_tokens = 2, .scheduler = {.split_rows = 1}}, 2);
  world->dispatcher().in_turn = false;
  for (int time = 0; time < 4; ++time) {
    world->dispatcher().failures = 7;
    ExpectAllSame(RunAll(*world, Requests()), plain());
  }
  ExpectAccepted(*world);
}

// Who only guesses with a layer does not need its experts.
TEST_F(EngineMtpTest, AnswersAreTheSameWithoutTheBlocksExperts) {
  const auto world = NewWorld({.draft_tokens = 2});
  world->dispatcher().lost_layer = std::ssize(checkpoint_->spec().layers);
  for (const absl::StatusCode code :
       {absl::StatusCode::kUnavailable, absl::StatusCode::kInternal}) {
    world->dispatcher().failure = code;
    ExpectAllSame(RunAll(*world, Requests()), plain());
  }
  EXPECT_EQ(world->engine().Status().draft_tokens, 0u);
}

// Guesses that are there when the block's experts are lost are computed once, and not again behind
// later tokens: where every token is the same, each of them would be accepted, also beyond the end.
TEST_F(EngineMtpTest, LengthsAreKeptWhenTheBlocksExpertsAreLostAfterGuesses) {
  const int32_t token = TokenGuessedBehindItself();
  std::vector<GenerateParameters> requests;
  for (const int64_t max_tokens : {12, 13, 14}) {
    requests.push_back(
        {.prompt = Ids(8, token), .max_tokens = max_tokens, .ignore_end_tokens = true});
    requests.back().sampling.temperature = 0;
    requests.back().logit_edits.bias = {{token, 1000.0f}};
  }
  const Answers expected = Plain(requests);
  for (const auto& answer : expected) EXPECT_EQ(answer->tokens[1], token);
  for (const int64_t drafts : {1, 2}) {
    for (int spared = 1; spared < 12; ++spared) {
      SCOPED_TRACE(::testing::Message() << drafts << " drafts, " << spared << " spared");
      const auto world = NewWorld({.draft_tokens = drafts, .scheduler = {.split_rows = 1}});
      world->dispatcher().lost_layer = std::ssize(checkpoint_->spec().layers);
      world->dispatcher().spared = spared;
      ExpectAllSame(RunAll(*world, requests), expected);
    }
  }
}

TEST_F(EngineMtpTest, GoesOnFromGeneratedTokens) {
  const auto world = NewWorld({.draft_tokens = 1});
  GenerateParameters request = Requests()[12];
  const Ids whole = plain()[12]->tokens;
  request.generated.assign(whole.begin(), whole.begin() + 21);
  EXPECT_EQ(world->Run(request)->tokens, Ids(whole.begin() + 21, whole.end()));
}

TEST_F(EngineMtpTest, StopsAtAStopTokenAmongTheAccepted) {
  const auto world = NewWorld({.draft_tokens = 3});
  const GenerateParameters request = Requests()[12];
  const Ids whole = plain()[12]->tokens;
  for (const int32_t stop : whole) {
    GenerateParameters stopped = request;
    stopped.stop_tokens = {stop};
    stopped.min_tokens = 0;
    const auto first = std::find(whole.begin(), whole.end(), stop);
    const auto answer = world->Run(stopped);
    EXPECT_EQ(answer->tokens, Ids(whole.begin(), first + 1));
    EXPECT_EQ(answer->finish, FinishReason::kStop);
  }
  ExpectAccepted(*world);
}

TEST_F(EngineMtpTest, EveryLengthIsKept) {
  const auto world = NewWorld({.draft_tokens = 4});
  GenerateParameters request = Requests()[12];
  const Ids whole = plain()[12]->tokens;
  request.min_tokens = 0;
  for (request.max_tokens = 1; request.max_tokens <= 20; ++request.max_tokens) {
    EXPECT_EQ(world->Run(request)->tokens, Ids(whole.begin(), whole.begin() + request.max_tokens));
  }
}

TEST_F(EngineMtpTest, AGuessThatCannotBeComputedIsNotAccepted) {
  GenerateParameters request = {.prompt = {5}, .max_tokens = 30, .ignore_end_tokens = true};
  request.sampling.temperature = 0;
  const auto expected = NewWorld({})->Run(request);
  const auto world = NewWorld({.draft_tokens = 1});
  // Of a step over one sequence: the row of its guess.
  world->dispatcher().not_finite_row = 1;
  ExpectSame(*world->Run(request), *expected);
  EXPECT_GT(world->engine().Status().draft_tokens, 0u);
  EXPECT_EQ(world->engine().Status().accepted_draft_tokens, 0u);
}

TEST_F(EngineMtpTest, CancellingFreesPages) {
  const auto world = NewWorld({.draft_tokens = 2});
  uint64_t id = 0;
  GenerateParameters request = Requests()[12];
  request.max_tokens = 200;
  const auto sink = world->Start(request, &id);
  ASSERT_TRUE(sink->WaitTokens(5));
  world->engine().Cancel(id);
  EXPECT_TRUE(world->WaitStatus(
      [](const EngineStatus& s) { return s.kv_pages_used == 0 && s.running == 0; }));
}

TEST_F(EngineMtpTest, AnEvaluationDoesNotDependOnChunksOrCompany) {
  const Ids tokens = Requests()[0].prompt;
  const auto evaluate = [&](World& world) {
    auto result = std::make_shared<Evaluated>();
    EXPECT_TRUE(
        world.engine().Evaluate({.tokens = tokens, .logits = true, .mtp = true}, result).ok());
    EXPECT_TRUE(result->WaitEnd());
    return result;
  };
  const auto whole = evaluate(*NewWorld({.draft_tokens = 1}));
  const size_t rows = tokens.size() - 1;
  ASSERT_EQ(whole->mtp_logits.size(), rows * checkpoint_->spec().vocabulary);
  ASSERT_EQ(whole->mtp_hidden.size(), rows * checkpoint_->spec().hidden);
  for (const int64_t chunk : {1, 7, 16}) {
    const auto world = NewWorld({.draft_tokens = 2, .scheduler = {.prefill_chunk = chunk}}, 2);
    world->Start(Requests()[12]);
    const auto cut = evaluate(*world);
    EXPECT_EQ(cut->logits, whole->logits) << chunk;
    EXPECT_EQ(cut->mtp_logits, whole->mtp_logits) << chunk;
    EXPECT_EQ(cut->mtp_hidden, whole->mtp_hidden) << chunk;
  }
}

TEST_F(EngineMtpTest, RefusesAnEvaluationOfABlockThatIsNotLoaded) {
  const auto world = NewWorld({});
  const auto status =
      world->engine().Evaluate({.tokens = {1}, .mtp = true}, std::make_shared<Evaluated>());
  EXPECT_TRUE(absl::IsInvalidArgument(status.status())) << status.status();
}

TEST(EngineWithoutMtpTest, RefusesToGuess) {
  kernels::ThreadPool pool(1);
  kernels::CpuDevice device(pool);
  auto local = LocalDispatcher::Load(TinyMoeCheckpoint(), kernels::NumericsClass::kFp32, device);
  ASSERT_TRUE(local.ok()) << local.status();
  const auto engine = Engine::Start(TinyMoeCheckpoint(), {.draft_tokens = 1}, device, **local, {});
  EXPECT_TRUE(absl::IsInvalidArgument(engine.status())) << engine.status();
}

}  // namespace
}  // namespace switchyard::router
