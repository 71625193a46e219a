// Families whose rows depend on more than the rows before them: a capacity of experts, an encoder,
// rope that depends on the length. Their answers still do not depend on what else runs.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "bazel/fixtures/fixtures.h"
#include "gtest/gtest.h"
#include "router_service/testing/engine_world.h"
#include "router_service/testing/expected_ids.h"

namespace switchyard::router {
namespace {

model::Checkpoint OpenOrDie(const std::string& folder) {
  auto checkpoint = model::Checkpoint::Open(folder);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return *std::move(checkpoint);
}

Ids HalfOf(const Ids& rows, int which) {
  const int64_t length = std::ssize(rows) / 2;
  return {rows.begin() + which * length, rows.begin() + (which + 1) * length};
}

// The two rows of a case: what its router chose, and the logits.
std::vector<std::shared_ptr<Evaluated>> EvaluateRows(World& world, const std::string& folder,
                                                     bool encoder) {
  const Ids inputs = ExpectedIds(folder, "input_ids");
  std::vector<std::shared_ptr<Evaluated>> rows;
  for (int row = 0; row < 2; ++row) {
    EvaluateParameters parameters = {
        .tokens = HalfOf(inputs, row), .logits = true, .routing = true};
    if (encoder) {
      parameters.source = HalfOf(ExpectedIds(folder, "decoder_input_ids"), row);
      std::swap(parameters.source, parameters.tokens);
    }
    rows.push_back(std::make_shared<Evaluated>());
    const auto id = world.engine().Evaluate(parameters, rows.back());
    EXPECT_TRUE(id.ok()) << id.status();
  }
  for (const auto& row : rows) EXPECT_TRUE(row->WaitEnd() && row->status.ok()) << row->status;
  return rows;
}

struct Case {
  std::string name;
  bool encoder = false;
  std::string layer;  // a MoE layer as the reference calls it
};

class FamilyTest : public ::testing::TestWithParam<Case> {};

// Greedy answers beside the evaluations of the same case, which are routed in another way, with so
// few pages that requests are computed again, and with chunks smaller than what cannot be cut.
TEST_P(FamilyTest, AnswersDoNotDependOnCompanyChunksOrPreemption) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, GetParam().name);
  const model::Checkpoint checkpoint = OpenOrDie(folder);
  const Ids prompt = ExpectedIds(folder, "greedy_prompt");
  const Ids wanted = ExpectedIds(folder, "greedy_ids");
  const GenerateParameters request = {.prompt = prompt,
                                      .sampling = {.temperature = 0},
                                      .max_tokens = std::ssize(wanted),
                                      .ignore_end_tokens = true};
  const Ids chosen = HalfOf(ExpectedIds(folder, GetParam().layer + ".ids"), 0);

  World roomy({}, 1, checkpoint);
  const auto reference = EvaluateRows(roomy, folder, GetParam().encoder);
  EXPECT_EQ(reference[0]->routing[0], chosen);
  EXPECT_EQ(roomy.Run(request)->tokens, wanted);

  World tight({.stages = 2,
               .kv_pages = GetParam().encoder ? 11 : 16,
               .scheduler = {.max_batch_rows = 5, .prefill_chunk = 3, .split_rows = 2}},
              2, checkpoint);
  std::vector<std::shared_ptr<Generated>> answers;
  for (int i = 0; i < 6; ++i) answers.push_back(tight.Start(request));
  const auto again = EvaluateRows(tight, folder, GetParam().encoder);
  for (const auto& answer : answers) {
    ASSERT_TRUE(answer->WaitEnd());
    EXPECT_EQ(answer->tokens, wanted) << answer->status;
  }
  EXPECT_GT(tight.engine().Status().scheduler.preemptions, 0u);
  for (int row = 0; row < 2; ++row) {
    EXPECT_EQ(again[row]->logits, reference[row]->logits);
    EXPECT_EQ(again[row]->routing, reference[row]->routing);
    EXPECT_EQ(again[row]->encoder_routing, reference[row]->encoder_routing);
  }
}

// Taken up by a worker that knows some of the answer.
TEST_P(FamilyTest, GoesOnAfterWhatAnotherWorkerGenerated) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, GetParam().name);
  const model::Checkpoint checkpoint = OpenOrDie(folder);
  const Ids wanted = ExpectedIds(folder, "greedy_ids");
  World world({}, 1, checkpoint);
  const auto rest = world.Run({.prompt = ExpectedIds(folder, "greedy_prompt"),
                               .generated = {wanted.begin(), wanted.begin() + 11},
                               .sampling = {.temperature = 0},
                               .max_tokens = std::ssize(wanted),
                               .ignore_end_tokens = true});
  EXPECT_EQ(rest->tokens, Ids(wanted.begin() + 11, wanted.end()));
}

INSTANTIATE_TEST_SUITE_P(
    Families, FamilyTest,
    ::testing::Values(
        Case{.name = "models/phimoe", .layer = "router.0"},
        Case{.name = "own_models/glam_drops", .layer = "router.1"},
        Case{.name = "own_models/glam_no_drops", .layer = "router.1"},
        Case{.name = "models/switch", .encoder = true, .layer = "decoder.router.1"},
        Case{.name = "models/switch_drop", .encoder = true, .layer = "decoder.router.1"}),
    [](const auto& info) { return info.param.name.substr(info.param.name.find('/') + 1); });

// The checkpoint with another value in its config.json.
std::string WithConfig(const std::string& folder, const std::string& key, double value) {
  const std::string copy = ::testing::TempDir() + "/" + key;
  std::filesystem::remove_all(copy);
  std::filesystem::copy(folder, copy);
  auto config = nlohmann::json::parse(std::ifstream(folder + "/config.json"));
  config[key] = value;
  std::filesystem::remove(copy + "/config.json");
  std::ofstream(copy + "/config.json") << config;
  return copy;
}

// With a capacity while generating, a prompt counts as a whole, like an evaluation with the same
// factor.
TEST(EngineFamiliesTest, ACapacityOfGenerationCountsThePromptAsAWhole) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "own_models/glam_drops");
  const model::Checkpoint checkpoint =
      OpenOrDie(WithConfig(folder, "eval_expert_capacity_factor", 1.0));
  const Ids prompt = HalfOf(ExpectedIds(folder, "input_ids"), 0);
  World world({.scheduler = {.max_batch_rows = 5, .prefill_chunk = 3}}, 1, checkpoint);
  const auto evaluated = EvaluateRows(world, folder, /*encoder=*/false)[0];
  const int64_t vocabulary = checkpoint.spec().vocabulary;
  const auto last = evaluated->logits.end() - vocabulary;
  const auto best = std::max_element(last, evaluated->logits.end()) - last;
  const GenerateParameters request = {.prompt = prompt,
                                      .sampling = {.temperature = 0},
                                      .max_tokens = 12,
                                      .ignore_end_tokens = true};
  const auto answer = world.Run(request);
  EXPECT_EQ(answer->tokens.front(), best);
  EXPECT_EQ(answer->cached_tokens, 0);
  EXPECT_EQ(world.Run(request)->tokens, answer->tokens);

  GenerateParameters rest = request;
  rest.generated = {answer->tokens.begin(), answer->tokens.begin() + 5};
  EXPECT_EQ(world.Run(rest)->tokens, Ids(answer->tokens.begin() + 5, answer->tokens.end()));
}

// A capacity that drops nothing changes nothing, so what comes in blocks from rows that were kept
// equals what generation computes chunk by chunk.
TEST(EngineFamiliesTest, WholeEvaluationsComeInBlocksAsThereIsRoom) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "own_models/glam_no_drops");
  const model::Checkpoint checkpoint = OpenOrDie(folder);
  const Ids row = HalfOf(ExpectedIds(folder, "input_ids"), 0);
  Ids prompt;
  while (prompt.size() < 150) prompt.insert(prompt.end(), row.begin(), row.end());
  prompt.resize(150);
  World world({.scheduler = {.prefill_chunk = 9}}, 1, checkpoint);
  const auto scored = world.Run({.prompt = prompt, .max_tokens = 0, .prompt_logprobs = 0});

  auto evaluated = std::make_shared<Evaluated>();
  evaluated->Allow(1);
  ASSERT_TRUE(world.engine()
                  .Evaluate({.tokens = prompt, .logits = true, .routing = true, .token_nll = true},
                            evaluated)
                  .ok());
  ASSERT_TRUE(evaluated->WaitPieces(1));
  EXPECT_EQ(evaluated->positions, kLogitsRows);
  // Others are not held up, and the pages are theirs.
  EXPECT_EQ(world.Run({.prompt = {1}, .max_tokens = 3, .ignore_end_tokens = true})->tokens.size(),
            3u);
  EXPECT_TRUE(world.WaitStatus([](const EngineStatus& s) { return s.kv_pages_used == 0; }));
  EXPECT_EQ(evaluated->positions, kLogitsRows);

  evaluated->Allow(100);
  world.engine().Wake();
  ASSERT_TRUE(evaluated->WaitEnd() && evaluated->status.ok()) << evaluated->status;
  EXPECT_EQ(evaluated->pieces, 3);
  EXPECT_EQ(evaluated->positions, 150);
  EXPECT_EQ(evaluated->logits.size(), size_t(150 * checkpoint.spec().vocabulary));
  const auto router = *checkpoint.spec().layers[checkpoint.spec().MoeLayers()[0]].ffn.router;
  EXPECT_EQ(evaluated->routing[0].size(), size_t(150 * router.top_k));
  ASSERT_EQ(evaluated->token_nll.size(), 149u);
  for (size_t i = 1; i < prompt.size(); ++i) {
    EXPECT_EQ(evaluated->token_nll[i - 1], -double{scored->prompt_logprobs[i].logprob}) << i;
  }
}

TEST(EngineFamiliesTest, FewWholeEvaluationsKeepRowsAtATime) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "own_models/glam_no_drops");
  const model::Checkpoint checkpoint = OpenOrDie(folder);
  World world({.micro_batches = 1, .scheduler = {.max_batch_rows = 150}}, 1, checkpoint);
  // Each takes its first block and no other.
  std::vector<std::shared_ptr<Evaluated>> evaluated;
  for (int i = 0; i < 12; ++i) {
    evaluated.push_back(std::make_shared<Evaluated>());
    evaluated[i]->Allow(1);
    ASSERT_TRUE(
        world.engine().Evaluate({.tokens = Ids(150, 1), .logits = true}, evaluated[i]).ok());
  }
  // More batches than would take them all.
  world.Run({.prompt = {1}, .max_tokens = 40, .ignore_end_tokens = true});
  const auto started = std::count_if(evaluated.begin(), evaluated.end(),
                                     [](const auto& sink) { return !sink->HasRoom(); });
  EXPECT_GE(started, 1);
  EXPECT_LE(started, 2);
  EXPECT_TRUE(world.WaitStatus([](const EngineStatus& s) { return s.running + s.waiting == 12; }));
  EXPECT_FALSE(world.engine().Drain(std::chrono::milliseconds(1)));

  for (const auto& sink : evaluated) sink->Allow(100);
  world.engine().Wake();
  EXPECT_TRUE(world.engine().Drain(kPatience));
  for (const auto& sink : evaluated) {
    ASSERT_TRUE(sink->WaitEnd() && sink->status.ok()) << sink->status;
    EXPECT_EQ(sink->logits, evaluated[0]->logits);
    EXPECT_EQ(sink->positions, 150);
  }
}

TEST(EngineFamiliesTest, SequencesOfTwoRopesShareNoPrefix) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "models/phimoe");
  const model::Checkpoint checkpoint = OpenOrDie(folder);
  const Ids prompt = HalfOf(ExpectedIds(folder, "input_ids"), 0);  // 40 tokens of 64
  World world({}, 1, checkpoint);
  const auto run = [&](int64_t max_tokens) {
    return world.Run({.prompt = prompt, .max_tokens = max_tokens, .ignore_end_tokens = true});
  };
  EXPECT_EQ(run(8)->cached_tokens, 0);
  EXPECT_EQ(run(8)->cached_tokens, 32);
  EXPECT_EQ(run(30)->cached_tokens, 0);  // beyond 64: the long table
  EXPECT_EQ(run(31)->cached_tokens, 32);
}

TEST(EngineFamiliesTest, WhatAnEncoderCannotDoIsSaid) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "models/switch");
  const model::Checkpoint checkpoint = OpenOrDie(folder);
  World world({}, 1, checkpoint);
  const auto refusal = [&](const EvaluateParameters& parameters) {
    return world.engine().Evaluate(parameters, std::make_shared<Evaluated>()).status().ToString();
  };
  EXPECT_NE(refusal({.tokens = {0, 5}}).find("rows.source_ids: is empty"), std::string::npos);
  EXPECT_NE(refusal({.tokens = {0, 5}, .source = {128}}).find("token id 128"), std::string::npos);
  const auto generate = world.engine().Generate({.prompt = {5, 6}, .prompt_logprobs = 0},
                                                std::make_shared<Generated>());
  EXPECT_NE(generate.status().ToString().find("does not predict its input"), std::string::npos);

  World plain;
  const auto source =
      plain.engine().Evaluate({.tokens = {1}, .source = {2}}, std::make_shared<Evaluated>());
  EXPECT_NE(source.status().ToString().find("the model has no encoder"), std::string::npos);
}

}  // namespace
}  // namespace switchyard::router
