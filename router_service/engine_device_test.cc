// A worker on a GPU computes what a worker on the CPU computes: the same bits, for every family,
// with the experts on the same device. Without a GPU its kernels run on the CPU.

#include <memory>
#include <string>

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
                 NumericsClass numerics, const MakeDevice& make_device) {
  World world({.numerics = numerics}, 2, checkpoint, make_device);
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
    const Computed expected = Compute(*checkpoint, folder, numerics, MakeCpuDevice);
    const Computed actual = Compute(*checkpoint, folder, numerics, make_device);
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

INSTANTIATE_TEST_SUITE_P(
    Families, EngineDeviceTest,
    ::testing::Combine(::testing::Values("models/mixtral_swa", "models/llama", "models/deepseek_v2",
                                         "models/deepseek_v3", "models/glm4_moe", "models/gpt_oss",
                                         "models/olmoe", "models/phimoe", "models/qwen2_moe",
                                         "models/qwen3_moe", "models/switch_drop",
                                         "own_models/glam_drops", "own_models/gpt_moe_learned",
                                         "own_models/gpt_moe_sinusoidal"),
                       ::testing::Values(NumericsClass::kFp32, NumericsClass::kBf16)),
    [](const auto& info) {
      std::string name = std::get<0>(info.param);
      name.erase(0, name.find('/') + 1);
      return name + (std::get<1>(info.param) == NumericsClass::kFp32 ? "_fp32" : "_bf16");
    });

}  // namespace
}  // namespace switchyard::router
