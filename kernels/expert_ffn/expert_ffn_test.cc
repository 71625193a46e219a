#include "kernels/expert_ffn/expert_ffn.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/base/bf16.h"
#include "kernels/base/test_levels.h"

namespace switchyard::kernels {
namespace {

PackedMatrix RandomMatrix(NumericsClass numerics, int64_t n, int64_t k, std::mt19937& random) {
  std::normal_distribution<float> normal(0.0f, 1.0f / std::sqrt(static_cast<float>(k)));
  std::vector<float> values(static_cast<size_t>(n * k));
  for (float& value : values) value = normal(random);
  PackedMatrix w(numerics, n, k);
  w.PackRows(0, n, values.data(), DType::kFloat32);
  return w;
}

// A batch over some experts with its inputs; outputs are separate, so that runs can be compared.
struct Problem {
  NumericsClass numerics;
  int64_t hidden;
  DType output_type;
  std::vector<ExpertWeights> experts;
  std::vector<ExpertGroup> groups;
  std::vector<std::vector<char>> inputs;
  std::vector<float> gate_weights;

  Problem(NumericsClass numerics, int64_t hidden, int64_t intermediate,
          const std::vector<int64_t>& rows_of_groups, DType output_type)
      : numerics(numerics), hidden(hidden), output_type(output_type) {
    std::mt19937 random(static_cast<uint32_t>(hidden * 31 + intermediate));
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < rows_of_groups.size(); ++i) {
      ExpertWeights& expert = experts.emplace_back();
      expert.gate = RandomMatrix(numerics, intermediate, hidden, random);
      expert.up = RandomMatrix(numerics, intermediate, hidden, random);
      expert.down = RandomMatrix(numerics, hidden, intermediate, random);
    }
    int64_t row = 0;
    for (size_t i = 0; i < rows_of_groups.size(); ++i) {
      groups.push_back({&experts[i], row, row + rows_of_groups[i]});
      row += rows_of_groups[i];
    }
    for (int64_t i = 0; i < row; ++i) {
      std::vector<float> x(static_cast<size_t>(hidden));
      for (float& value : x) value = normal(random);
      SetInput(i, x);
      gate_weights.push_back(std::fabs(normal(random)));
    }
  }

  void SetInput(int64_t row, const std::vector<float>& x) {
    if (static_cast<size_t>(row) >= inputs.size()) inputs.resize(static_cast<size_t>(row) + 1);
    std::vector<char>& bytes = inputs[static_cast<size_t>(row)];
    bytes.resize(x.size() * SizeOf(WireType(numerics)));
    for (size_t i = 0; i < x.size(); ++i) {
      if (numerics == NumericsClass::kFp32) {
        std::memcpy(&bytes[i * 4], &x[i], 4);
      } else {
        const uint16_t rounded = FloatToBf16(x[i]);
        std::memcpy(&bytes[i * 2], &rounded, 2);
      }
    }
  }

  // One vector of bytes for each row. `run` is ExpertFfn or the reference.
  template <typename F>
  std::vector<std::vector<char>> Run(const F& run) const {
    std::vector<std::vector<char>> outputs(
        inputs.size(), std::vector<char>(static_cast<size_t>(hidden) * SizeOf(output_type), 'x'));
    std::vector<ExpertRow> rows;
    for (size_t i = 0; i < inputs.size(); ++i) {
      rows.push_back({inputs[i].data(), outputs[i].data(), gate_weights[i]});
    }
    run(ExpertBatch{rows, groups, output_type});
    return outputs;
  }
};

class ExpertFfnTest : public ::testing::TestWithParam<NumericsClass> {};

void ExpectEveryLevelEqualsReference(const Problem& problem) {
  const auto expected = problem.Run([](const ExpertBatch& batch) { ExpertFfnReference(batch); });
  ExpertWorkspace workspace;
  for (CpuLevel level : RunnableCpuLevels()) {
    ScopedCpuLevel forced(level);
    for (int threads : {1, 2, 3}) {
      ThreadPool pool(threads);
      const auto actual =
          problem.Run([&](const ExpertBatch& batch) { ExpertFfn(batch, workspace, pool); });
      ASSERT_EQ(actual, expected) << Name(problem.numerics) << " hidden=" << problem.hidden << " "
                                  << Name(level) << " threads=" << threads;
    }
  }
}

TEST_P(ExpertFfnTest, EqualsReference) {
  const DType wire = WireType(GetParam());
  ExpectEveryLevelEqualsReference(Problem(GetParam(), 32, 64, {1}, wire));
  ExpectEveryLevelEqualsReference(Problem(GetParam(), 64, 160, {1, 1, 1, 1}, wire));
  ExpectEveryLevelEqualsReference(Problem(GetParam(), 48, 96, {5, 0, 17, 1}, DType::kFloat32));
  ExpectEveryLevelEqualsReference(Problem(GetParam(), 33, 47, {3, 2}, wire));
  ExpectEveryLevelEqualsReference(Problem(GetParam(), 47, 101, {9, 1}, DType::kFloat32));
  ExpectEveryLevelEqualsReference(Problem(GetParam(), 64, 48, {130}, wire));
}

constexpr Activation kActivations[] = {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh,
                                       Activation::kRelu, Activation::kClampedSwiGlu};

// Turns the experts of a problem into another kind of network.
void Become(Activation activation, bool gated, bool biased, Problem& problem) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  const auto fill = [&](Floats& bias, int64_t n) {
    bias.resize(static_cast<size_t>(n));
    for (float& value : bias) value = normal(random);
  };
  for (ExpertWeights& expert : problem.experts) {
    expert.activation = activation;
    expert.limit = 0.75f;
    if (!gated) expert.up = PackedMatrix();
    if (!biased) continue;
    fill(expert.gate_bias, expert.gate.n());
    if (gated) fill(expert.up_bias, expert.up.n());
    fill(expert.down_bias, expert.down.n());
  }
}

TEST_P(ExpertFfnTest, EveryKindOfNetworkEqualsTheReference) {
  for (const Activation activation : kActivations) {
    for (const bool gated : {true, false}) {
      if (!gated && activation == Activation::kClampedSwiGlu) continue;
      for (const bool biased : {false, true}) {
        SCOPED_TRACE(testing::Message() << static_cast<int>(activation) << gated << biased);
        Problem problem(GetParam(), 33, 47, {3, 2}, WireType(GetParam()));
        Become(activation, gated, biased, problem);
        ExpectEveryLevelEqualsReference(problem);
      }
    }
  }
}

// Products that underflow to -0 stay -0 where there is no bias.
TEST_P(ExpertFfnTest, KeepsMinusZeroWithoutABias) {
  Problem problem(GetParam(), 1, 1, {1}, DType::kFloat32);
  Become(Activation::kRelu, /*gated=*/false, /*biased=*/false, problem);
  const float one = 1.0f, tiny = -1e-30f;
  problem.experts[0].gate.PackRows(0, 1, &one, DType::kFloat32);
  problem.experts[0].down.PackRows(0, 1, &tiny, DType::kFloat32);
  problem.SetInput(0, {1e-15f});
  ExpectEveryLevelEqualsReference(problem);
}

// The definition in plain double arithmetic.
double PlainOutput(const ExpertWeights& expert, const std::vector<float>& x, int64_t output) {
  const auto dot = [&x](const PackedMatrix& w, const Floats& bias, int64_t row) {
    double sum = bias[static_cast<size_t>(row)];
    for (int64_t i = 0; i < w.k(); ++i) sum += double{w.At(row, i)} * x[static_cast<size_t>(i)];
    return sum;
  };
  double sum = expert.down_bias[static_cast<size_t>(output)];
  for (int64_t i = 0; i < expert.gate.n(); ++i) {
    const double g = std::min(dot(expert.gate, expert.gate_bias, i), double{expert.limit});
    const double u =
        std::clamp(dot(expert.up, expert.up_bias, i), -double{expert.limit}, double{expert.limit});
    const double h = g / (1 + std::exp(-1.702 * g)) * (u + 1);
    sum += double{expert.down.At(output, i)} * h;
  }
  return sum;
}

TEST(ClampedSwiGluTest, IsTheFormulaOfGptOss) {
  Problem problem(NumericsClass::kFp32, 32, 48, {1}, DType::kFloat32);
  Become(Activation::kClampedSwiGlu, true, true, problem);
  const auto rows = problem.Run([](const ExpertBatch& batch) { ExpertFfnReference(batch); });
  std::vector<float> x(32), y(32);
  std::memcpy(x.data(), problem.inputs[0].data(), 128);
  std::memcpy(y.data(), rows[0].data(), 128);
  for (int64_t i = 0; i < 32; ++i) {
    const double expected = problem.gate_weights[0] * PlainOutput(problem.experts[0], x, i);
    EXPECT_NEAR(y[static_cast<size_t>(i)], expected, 1e-5) << i;
  }
}

TEST_P(ExpertFfnTest, EqualsReferenceOnAWideExpert) {
  ExpectEveryLevelEqualsReference(Problem(GetParam(), 768, 320, {2, 1}, WireType(GetParam())));
}

TEST_P(ExpertFfnTest, RowDoesNotDependOnItsBatch) {
  const Problem together(GetParam(), 96, 200, {7, 11}, WireType(GetParam()));
  ThreadPool pool(2);
  ExpertWorkspace workspace;
  const auto all =
      together.Run([&](const ExpertBatch& batch) { ExpertFfn(batch, workspace, pool); });
  for (const ExpertGroup& group : together.groups) {
    for (int64_t i = group.begin; i < group.end; ++i) {
      std::vector<char> output(all[0].size());
      const ExpertRow row = {together.inputs[static_cast<size_t>(i)].data(), output.data(),
                             together.gate_weights[static_cast<size_t>(i)]};
      const ExpertGroup alone = {group.weights, 0, 1};
      ExpertFfn({{&row, 1}, {&alone, 1}, together.output_type}, workspace, pool);
      EXPECT_EQ(output, all[static_cast<size_t>(i)]) << "row " << i;
    }
  }
}

TEST_P(ExpertFfnTest, NonFiniteRowLeavesOthersAlone) {
  Problem problem(GetParam(), 33, 47, {6}, DType::kFloat32);
  const auto clean = problem.Run([](const ExpertBatch& batch) { ExpertFfnReference(batch); });
  std::vector<float> x(33, 1.0f);
  x[32] = std::numeric_limits<float>::infinity();
  problem.SetInput(3, x);
  ThreadPool pool(2);
  ExpertWorkspace workspace;
  const auto outputs =
      problem.Run([&](const ExpertBatch& batch) { ExpertFfn(batch, workspace, pool); });
  for (size_t row : {0, 1, 2, 4, 5}) EXPECT_EQ(outputs[row], clean[row]);
  float first = 0;
  std::memcpy(&first, outputs[3].data(), sizeof(first));
  EXPECT_FALSE(std::isfinite(first));
}

TEST_P(ExpertFfnTest, EmptyBatchIsNothing) {
  ThreadPool pool(2);
  ExpertWorkspace workspace;
  ExpertFfn({}, workspace, pool);
  const Problem no_rows(GetParam(), 32, 32, {0, 0}, DType::kFloat32);
  EXPECT_TRUE(
      no_rows.Run([&](const ExpertBatch& batch) { ExpertFfn(batch, workspace, pool); }).empty());
}

INSTANTIATE_TEST_SUITE_P(Classes, ExpertFfnTest,
                         ::testing::Values(NumericsClass::kFp32, NumericsClass::kBf16),
                         [](const auto& info) { return std::string(Name(info.param)); });

}  // namespace
}  // namespace switchyard::kernels
