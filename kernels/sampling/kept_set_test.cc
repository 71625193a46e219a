#include "kernels/sampling/kept_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "bazel/fixtures/fixtures.h"
#include "kernels/base/lane_sum.h"
#include "kernels/base/math.h"
#include "kernels/base/test_levels.h"
#include "kernels/sampling/logit_edits.h"
#include "kernels/sampling/sampling.h"
#include "kernels/sampling/sum_exp.h"
#include "kernels/testing/tensor_file.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomValues;

std::vector<int32_t> Kept(const std::vector<float>& values, const KeptRules& rules) {
  std::vector<int32_t> scratch, kept;
  const float max = *std::max_element(values.begin(), values.end());
  const KeptSet set = SelectKept(values, max, rules, scratch);
  for (int32_t id = 0; id < static_cast<int32_t>(values.size()); ++id) {
    if (set.Contains(values[id], id)) kept.push_back(id);
  }
  return kept;
}

std::vector<int32_t> Sorted(const std::vector<float>& values) {
  std::vector<int32_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return values[a] > values[b]; });
  return order;
}

// The rules by a full sort.
std::vector<int32_t> KeptBySorting(const std::vector<float>& values, const KeptRules& rules) {
  const auto [min_p, top_k, top_p] = rules;
  std::vector<int32_t> order = Sorted(values);
  if (min_p > 0) {
    const float least = values[order.front()] + Log(min_p);
    std::erase_if(order, [&](int32_t id) { return values[id] < least; });
  }
  if (top_k > 0 && top_k < static_cast<int32_t>(order.size())) {
    const float last = values[order[top_k - 1]];
    std::erase_if(order, [&](int32_t id) { return values[id] < last; });
  }
  if (top_p < 1) {
    const double total = SumExp(values, values[order.front()], values[order.back()]);
    double above = 0;
    size_t count = 0;
    do {
      above += Exp(values[order[count]] - values[order.front()]);
      ++count;
    } while (count < order.size() && above < top_p * total);
    order.resize(count);
  }
  std::sort(order.begin(), order.end());
  return order;
}

TEST(KeptSetTest, EqualsAFullSort) {
  for (float scale : {0.01f, 1.0f, 5.0f, 60.0f}) {
    std::vector<float> values = RandomValues(3000, 7, scale);
    for (size_t i = 0; i < values.size(); i += 3) values[i] = std::round(values[i]);
    for (int32_t top_k : {0, 1, 2, 50, 700, 2999, 3000, 9999}) {
      for (float top_p : {0.0f, 0.1f, 0.9f, 0.99999f, 1.0f}) {
        for (float min_p : {0.0f, 1e-6f, 0.3f, 1.0f}) {
          const KeptRules rules{.min_p = min_p, .top_k = top_k, .top_p = top_p};
          EXPECT_EQ(Kept(values, rules), KeptBySorting(values, rules))
              << "scale " << scale << ", top_k " << top_k << ", top_p " << top_p << ", min_p "
              << min_p;
        }
      }
    }
  }
}

TEST(KeptSetTest, LargestIdsAreInOrder) {
  std::vector<float> values = RandomValues(5000, 3);
  for (float& value : values) value = std::round(value * 8);  // many ties
  values[17] = -INFINITY;
  std::vector<int32_t> ids;
  for (int64_t count : {0, 1, 5, 300, 4999, 5000, 6000}) {
    LargestIds(values, count, ids);
    std::vector<int32_t> expected = Sorted(values);
    expected.resize(std::min<size_t>(count, expected.size()));
    EXPECT_EQ(ids, expected) << count;
  }
  const std::vector<float> ascending = {1, 2, 3, 4, 5};
  LargestIds(ascending, 2, ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{4, 3}));
}

TEST(KeptSetTest, SumExpFollowsItsDefinitionAtEveryLevel) {
  for (size_t size : {1, 17, 1024, 2500}) {
    const std::vector<float> values = RandomValues(size, 5, 3.0f);
    const float max = *std::max_element(values.begin(), values.end());
    for (float floor : {-INFINITY, -1.0f}) {
      double expected = 0;
      for (size_t begin = 0; begin < size; begin += 1024) {
        LaneSum block;
        for (size_t i = begin; i < std::min(begin + 1024, size); ++i) {
          block.Add(i - begin, values[i] >= floor ? Exp(values[i] - max) : 0.0f);
        }
        expected += block.Total();
      }
      for (CpuLevel level : RunnableCpuLevels()) {
        ScopedCpuLevel scope(level);
        EXPECT_EQ(SumExp(values, max, floor), expected) << Name(level) << ", " << size;
      }
    }
  }
}

// What the fixture's parameters change before the choice.
std::vector<float> Edited(const nlohmann::json& c, const std::vector<float>& logits) {
  const nlohmann::json& params = c["params"];
  LogitEditParameters parameters{.repetition_penalty = params["repetition_penalty"],
                                 .presence_penalty = params["presence_penalty"],
                                 .frequency_penalty = params["frequency_penalty"]};
  for (const auto& [token, bias] : params["logit_bias"].items()) {
    parameters.bias.push_back({std::stoi(token), bias.get<float>()});
  }
  const auto prompt = c["prompt_ids"].get<std::vector<int32_t>>();
  const auto output = c["output_ids"].get<std::vector<int32_t>>();
  std::vector<float> edited(logits.size());
  LogitEdits(parameters, prompt, output, 0).Apply(logits, edited);
  return edited;
}

void ExpectNear(double value, const nlohmann::json& expected) {
  // The fixture has -9999 for what is impossible.
  EXPECT_NEAR(std::max(value, -9999.0), expected.get<double>(),
              2e-6 * std::max(1.0, std::abs(expected.get<double>())));
}

TEST(SamplingGoldenTest, KeepsChoosesAndReportsAsExpected) {
  SWITCHYARD_FIXTURE_OR_SKIP(list_path, "sampling/cases.json");
  SWITCHYARD_FIXTURE_OR_SKIP(tensor_path, "sampling/logits.safetensors");
  std::ifstream list_file(list_path);
  const nlohmann::json list = nlohmann::json::parse(list_file, nullptr, false);
  ASSERT_FALSE(list.is_discarded());
  const auto tensors = testing::ReadTensorFile(tensor_path);
  for (const nlohmann::json& c : list["cases"]) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const testing::Tensor& table = tensors.at("logits." + c["logits"].get<std::string>());
    const float* row = table.As<float>() + c["row"].get<int64_t>() * table.shape[1];
    const std::vector<float> logits(row, row + table.shape[1]);
    ExpectNear(Logprobs(logits, c["sampled"], 5).logprob, c["raw_logprobs"]["sampled"]);

    const std::vector<float> edited = Edited(c, logits);
    const nlohmann::json& params = c["params"];
    const float temperature = params["temperature"];
    SamplingWorkspace workspace;
    EXPECT_EQ(SampleToken(edited, {.temperature = 0}, 0, workspace), c["greedy"].get<int32_t>());
    if (temperature < kGreedyTemperature) {
      EXPECT_EQ(SampleToken(edited, {.temperature = temperature}, 0, workspace),
                c["expected"]["kept"][0].get<int32_t>());
      continue;
    }
    std::vector<float> values = edited;
    for (float& value : values) value /= temperature;
    ExpectNear(Logprobs(values, c["sampled"], 0).logprob, c["processed_logprobs"]["sampled"]);
    std::vector<int32_t> kept = Kept(
        values, {.min_p = params["min_p"], .top_k = params["top_k"], .top_p = params["top_p"]});
    // Where nothing is left out the fixture leaves out what is impossible.
    std::erase_if(kept, [&](int32_t id) { return values[id] == -INFINITY; });
    const nlohmann::json& expected = c["expected"];
    if (c.value("which_ids_unspecified", false)) {
      EXPECT_EQ(kept.size(), c["kept_count"].get<size_t>());
      continue;
    }
    EXPECT_EQ(kept, expected["kept"].get<std::vector<int32_t>>());
    if (!expected.contains("probs")) continue;
    const double max = *std::max_element(values.begin(), values.end());
    double total = 0;
    for (const int32_t id : kept) total += std::exp(values[id] - max);
    for (size_t i = 0; i < std::min(kept.size(), expected["probs"].size()); ++i) {
      EXPECT_NEAR(std::exp(values[kept[i]] - max) / total, expected["probs"][i].get<double>(),
                  2e-6);
    }
    // Only what is kept is chosen.
    for (int64_t position = 0; position < 20; ++position) {
      const SamplingParameters parameters{.temperature = temperature,
                                          .top_k = params["top_k"],
                                          .top_p = params["top_p"],
                                          .min_p = params["min_p"]};
      const int32_t token = SampleToken(edited, parameters, position, workspace);
      EXPECT_TRUE(std::binary_search(kept.begin(), kept.end(), token)) << token;
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels
