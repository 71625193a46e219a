// A worker on a GPU computes what a worker on the CPU computes: the same bits, for every family,
// with the experts on the same device. Without a GPU its kernels run on the CPU.

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "bazel/fixtures/fixtures.h"
#include "gtest/gtest.h"
#include "kernels/testing/devices.h"
#include "router_service/testing/engine_world.h"
#include "router_service/testing/expected_ids.h"

namespace switchyard::router {
namespace {

using kernels::NumericsClass;

struct Computed {
  std::shared_ptr<Evaluated> evaluated;
  std::shared_ptr<Generated> greedy, sampled;
};

Computed Compute(const model::Checkpoint& checkpoint, const std::string& folder,
                 const EngineOptions& options, const MakeDevice& make_device) {
  World world(options, 2, checkpoint, make_device);
  const Ids inputs = ExpectedIds(folder, "input_ids");
  EvaluateParameters parameters = {.logits = true, .routing = true};
  parameters.tokens = {inputs.begin(), inputs.begin() + std::ssize(inputs) / 2};
  if (!checkpoint.spec().encoder_layers.empty()) {
    const Ids decoder = ExpectedIds(folder, "decoder_input_ids");
    parameters.source = parameters.tokens;
    parameters.tokens = {decoder.begin(), decoder.begin() + std::ssize(decoder) / 2};
  }
  Computed computed;
  computed.evaluated = std::make_shared<Evaluated>();
  const auto id = world.engine().Evaluate(parameters, computed.evaluated);
  EXPECT_TRUE(id.ok()) << id.status();
  EXPECT_TRUE(computed.evaluated->WaitEnd() && computed.evaluated->status.ok());
  GenerateParameters request = {.prompt = ExpectedIds(folder, "greedy_prompt"),
                                .sampling = {.temperature = 0},
                                .max_tokens = 6,
                                .ignore_end_tokens = true};
  computed.greedy = world.Run(request);
  request.sampling = {.temperature = 0.8f, .top_k = 20, .top_p = 0.9f, .seed = 7};
  computed.sampled = world.Run(request);
  return computed;
}

class EngineDeviceTest : public ::testing::TestWithParam<std::tuple<std::string, NumericsClass>> {
 protected:
  static void ExpectEqualsTheProcessor(const std::string& folder, const MakeDevice& make_device) {
    const NumericsClass numerics = std::get<1>(GetParam());
    const auto checkpoint = model::Checkpoint::Open(folder);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const EngineOptions options = {.numerics = numerics};
    const Computed expected = Compute(*checkpoint, folder, options, MakeCpuDevice);
    const Computed actual = Compute(*checkpoint, folder, options, make_device);
    EXPECT_EQ(actual.evaluated->logits, expected.evaluated->logits);
    EXPECT_EQ(actual.evaluated->routing, expected.evaluated->routing);
    ExpectSame(*actual.greedy, *expected.greedy);
    ExpectSame(*actual.sampled, *expected.sampled);
  }
};

TEST_P(EngineDeviceTest, KernelsOfGpusEqualTheProcessor) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, std::get<0>(GetParam()));
  ExpectEqualsTheProcessor(folder, kernels::testing::MakeEmulatedDevice);
}

TEST_P(EngineDeviceTest, GpuEqualsTheProcessor) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, std::get<0>(GetParam()));
  kernels::ThreadPool pool(1);
  const auto gpu = kernels::testing::MakeGpu(pool);
  if (!gpu.ok()) GTEST_SKIP() << gpu.status().message();
  ExpectEqualsTheProcessor(
      folder, [](kernels::ThreadPool& threads) { return *kernels::testing::MakeGpu(threads); });
}

const auto kFamilies = ::testing::Values(
    "models/mixtral_swa", "models/llama", "models/deepseek_v2", "models/deepseek_v3",
    "models/glm4_moe", "models/gpt_oss", "models/olmoe", "models/phimoe", "models/qwen2_moe",
    "models/qwen3_moe", "models/switch_drop", "own_models/glam_drops", "own_models/gpt_moe_learned",
    "own_models/gpt_moe_sinusoidal");

std::string Family(std::string folder) { return folder.erase(0, folder.find('/') + 1); }

INSTANTIATE_TEST_SUITE_P(Families, EngineDeviceTest,
                         ::testing::Combine(kFamilies, ::testing::Values(NumericsClass::kFp32,
                                                                         NumericsClass::kBf16)),
                         [](const auto& info) {
                           const bool fp32 = std::get<1>(info.param) == NumericsClass::kFp32;
                           return Family(std::get<0>(info.param)) + (fp32 ? "_fp32" : "_bf16");
                         });

// Greedy and sampled by each rule and by all, with everything that changes logits before, with and
// without log probabilities. The prompt is one that the block for multi-token prediction guesses.
std::vector<GenerateParameters> RequestsOfAllKinds(const Ids& prompt, int32_t end_token) {
  std::vector<kernels::SamplingParameters> rules = {
      {.temperature = 0},
      {.temperature = 0.7f, .seed = 1},
      {.temperature = 1.3f, .top_k = 7, .seed = 2},
      {.temperature = 0.8f, .top_p = 0.7f, .seed = 3},
      {.temperature = 1.0f, .min_p = 0.05f, .seed = 4},
      {.temperature = 0.9f, .top_k = 30, .top_p = 0.9f, .min_p = 0.01f, .seed = 5}};
  std::vector<kernels::LogitEditParameters> edits = {
      {},
      {.repetition_penalty = 1.1f, .presence_penalty = 0.3f, .frequency_penalty = 0.2f},
      {.bias = {{3, 4.0f}, {9, -50.0f}}, .bad_words = {{7}, {19, 68}}},
      {.allowed = {2, 3, 5, 8, 13, 21, 34, 55}}};
  std::vector<GenerateParameters> requests;
  for (const kernels::SamplingParameters& sampling : rules) {
    for (const kernels::LogitEditParameters& edit : edits) {
      const bool odd = requests.size() % 2 != 0;
      requests.push_back({.prompt = prompt,
                          .sampling = sampling,
                          .logit_edits = edit,
                          .max_tokens = 24,
                          .min_tokens = odd ? 6 : 0,
                          .stop_tokens = {end_token, 21},
                          .ignore_end_tokens = !odd,
                          .logprobs = requests.size() % 3 == 0 ? 2 : -1,
                          .prompt_logprobs = requests.size() % 5 == 0 ? 1 : -1});
    }
  }
  return requests;
}

// All requests in one batch.
std::vector<std::shared_ptr<Generated>> RunTogether(const model::Checkpoint& checkpoint,
                                                    const std::vector<GenerateParameters>& requests,
                                                    int64_t drafts, const MakeDevice& make_device) {
  World world({.draft_tokens = drafts}, 2, checkpoint, make_device);
  world.dispatcher().held = true;
  std::vector<std::shared_ptr<Generated>> answers;
  for (const GenerateParameters& request : requests) answers.push_back(world.Start(request));
  world.dispatcher().held = false;
  for (const auto& answer : answers) EXPECT_TRUE(answer->WaitEnd());
  if (drafts > 0) {
    EXPECT_GT(world.engine().Status().accepted_draft_tokens, 0u);
    EXPECT_GT(world.engine().Status().draft_tokens, world.engine().Status().accepted_draft_tokens);
  }
  return answers;
}

void ExpectSamplesOfTheProcessor(const std::string& folder, const MakeDevice& make_device) {
  const auto checkpoint = model::Checkpoint::Open(folder);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const Ids prompt = ExpectedIds(folder, "greedy_prompt");
  const std::vector<GenerateParameters> requests = RequestsOfAllKinds(prompt, prompt.back());
  // Each alone.
  World world({}, 1, *checkpoint);
  std::vector<std::shared_ptr<Generated>> expected;
  for (const GenerateParameters& request : requests) expected.push_back(world.Run(request));
  for (const int64_t drafts : {0, 3}) {
    const auto answers = RunTogether(*checkpoint, requests, drafts, make_device);
    for (size_t i = 0; i < requests.size(); ++i) {
      SCOPED_TRACE(::testing::Message() << "request " << i << ", " << drafts << " drafts");
      ExpectSame(*answers[i], *expected[i]);
      EXPECT_EQ(answers[i]->finish, expected[i]->finish);
      EXPECT_EQ(answers[i]->stop_token, expected[i]->stop_token);
      EXPECT_EQ(answers[i]->prompt_logprobs.size(), expected[i]->prompt_logprobs.size());
    }
  }
}

TEST(EngineDeviceSamplingTest, KernelsOfGpusChooseTheTokensOfTheProcessor) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "own_models/deepseek_v3_mtp");
  ExpectSamplesOfTheProcessor(folder, kernels::testing::MakeEmulatedDevice);
}

TEST(EngineDeviceSamplingTest, AGpuChoosesTheTokensOfTheProcessor) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "own_models/deepseek_v3_mtp");
  kernels::ThreadPool pool(1);
  const auto gpu = kernels::testing::MakeGpu(pool);
  if (!gpu.ok()) GTEST_SKIP() << gpu.status().message();
  ExpectSamplesOfTheProcessor(
      folder, [](kernels::ThreadPool& threads) { return *kernels::testing::MakeGpu(threads); });
}

// Requests whose answer is an error, and only their own.
TEST(EngineDeviceSamplingTest, NothingLeftToChooseEndsTheRequestAlone) {
  World world({}, 2, TinyMoeCheckpoint(), kernels::testing::MakeEmulatedDevice);
  GenerateParameters request = {.prompt = {5, 6}, .max_tokens = 4, .ignore_end_tokens = true};
  GenerateParameters nothing = request;
  nothing.logit_edits = {.allowed = {3}, .bad_words = {{3}}};
  const auto failed = world.Start(nothing);
  const auto answer = world.Start(request);
  ASSERT_TRUE(failed->WaitEnd() && answer->WaitEnd());
  EXPECT_TRUE(absl::IsInvalidArgument(failed->status)) << failed->status;
  EXPECT_TRUE(answer->status.ok()) << answer->status;
  EXPECT_EQ(answer->tokens.size(), 4u);
}

// How many positions have the same experts in every layer on both sides.
int64_t SameExperts(const Evaluated& a, const Evaluated& b) {
  int64_t same = a.positions;
  for (size_t layer = 0; layer < a.routing.size(); ++layer) {
    const Ids &x = a.routing[layer], &y = b.routing[layer];
    if (x.empty()) continue;
    const auto differs = std::mismatch(x.begin(), x.end(), y.begin(), y.end()).first - x.begin();
    same = std::min<int64_t>(same, differs * a.positions / std::ssize(x));
  }
  return a.encoder_routing == b.encoder_routing ? same : 0;
}

// Class bf16-sm90: whole models with the products of tensor cores.
class TensorCoresTest : public ::testing::TestWithParam<std::string> {
 protected:
  static constexpr NumericsClass kClass = NumericsClass::kBf16Sm90;

  static void ExpectInvariantAndClose(const std::string& folder, const MakeDevice& make_device) {
    const auto checkpoint = model::Checkpoint::Open(folder);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const Computed whole = Compute(*checkpoint, folder, {.numerics = kClass}, make_device);
    const Computed pieces = Compute(
        *checkpoint, folder, {.numerics = kClass, .scheduler = {.prefill_chunk = 3}}, make_device);
    EXPECT_EQ(pieces.evaluated->logits, whole.evaluated->logits);
    EXPECT_EQ(pieces.evaluated->routing, whole.evaluated->routing);
    ExpectSame(*pieces.greedy, *whole.greedy);
    ExpectSame(*pieces.sampled, *whole.sampled);
    const Computed bf16 =
        Compute(*checkpoint, folder, {.numerics = NumericsClass::kBf16}, MakeCpuDevice);
    ExpectClose(checkpoint->spec(), *whole.evaluated, *bf16.evaluated);
  }

  // The two classes round at the same places, so that a rounding may fall the other way: the bound
  // of tests/golden/bf16_test.py, once for each side. It holds up to the first other expert.
  static void ExpectClose(const model::ModelSpec& spec, const Evaluated& a, const Evaluated& b) {
    ASSERT_EQ(a.logits.size(), b.logits.size());
    const int64_t same = SameExperts(a, b);
    ASSERT_GE(same, a.positions / 4) << "too few positions have the same experts to compare";
    const size_t layers = spec.layers.size() + 2 * spec.encoder_layers.size();
    const double bound = 2 * 0x1p-9 * static_cast<double>(3 + layers * 14);
    const auto compared = static_cast<size_t>(same * std::ssize(a.logits) / a.positions);
    double largest = 0;
    for (const float logit : b.logits) largest = std::max(largest, std::abs(double{logit}));
    for (size_t i = 0; i < compared; ++i) {
      ASSERT_LE(std::abs(double{a.logits[i]} - b.logits[i]), bound * largest) << "logit " << i;
    }
    RecordProperty("positions compared", std::to_string(same));
  }
};

TEST_P(TensorCoresTest, KernelsOfGpusDoNotDependOnTheBatch) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, GetParam());
  ExpectInvariantAndClose(folder, kernels::testing::MakeEmulatedDevice);
}

TEST_P(TensorCoresTest, AGpuDoesNotDependOnTheBatch) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, GetParam());
  kernels::ThreadPool pool(1);
  const auto gpu = kernels::testing::MakeGpu(pool);
  if (!gpu.ok()) GTEST_SKIP() << gpu.status().message();
  ExpectInvariantAndClose(
      folder, [](kernels::ThreadPool& threads) { return *kernels::testing::MakeGpu(threads); });
}

INSTANTIATE_TEST_SUITE_P(Families, TensorCoresTest, kFamilies,
                         [](const auto& info) { return Family(info.param); });

}  // namespace
}  // namespace switchyard::router
