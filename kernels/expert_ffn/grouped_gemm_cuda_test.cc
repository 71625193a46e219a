// The grouped GEMM on a GPU: within the computed bound of exact sums and of the scalar reference of
// class bf16, and the same bits whatever else is in the batch.

#include "kernels/expert_ffn/grouped_gemm_cuda.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "kernels/base/bf16.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/test_device.h"
#include "kernels/expert_ffn/grouped_gemm_test_case.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using grouped::ExpertShape;
using testing::GroupedProblem;

template <typename T>
UnifiedMemory Unified(const std::vector<T>& values) {
  auto memory = UnifiedMemory::Allocate(values.size() * sizeof(T));
  EXPECT_TRUE(memory.ok()) << memory.status();
  if (!memory.ok()) return {};
  std::memcpy(memory->data(), values.data(), values.size() * sizeof(T));
  return *std::move(memory);
}

// What a run leaves: h and the outputs by row.
struct Result {
  std::vector<uint16_t> h;
  std::vector<float> outputs;
};

class GroupedGemmCudaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SWITCHYARD_CUDA_OR_SKIP();
    auto ffn = GroupedExpertFfn::Create(0);
    ASSERT_TRUE(ffn.ok()) << ffn.status();
    ffn_ = std::make_unique<GroupedExpertFfn>(*std::move(ffn));
  }

  static std::vector<GroupedExpert> Upload(const GroupedProblem& problem) {
    std::vector<GroupedExpert> experts;
    for (size_t i = 0; i < problem.experts.size(); ++i) {
      auto expert = GroupedExpert::Create(problem.Source(i));
      EXPECT_TRUE(expert.ok()) << expert.status();
      experts.push_back(*std::move(expert));
    }
    return experts;
  }

  // Runs the rows [skipped[e], rows of e) of each expert e. Outputs lie from last to first.
  Result Run(const GroupedProblem& problem, const std::vector<GroupedExpert>& experts, DType type,
             const std::vector<int64_t>& skipped) {
    const auto hidden = static_cast<size_t>(problem.shape.hidden);
    const auto count = static_cast<size_t>(problem.rows);
    const size_t h_elements =
        count * static_cast<size_t>(grouped::RowStride(problem.shape.intermediate));
    const UnifiedMemory inputs = Unified(problem.inputs);
    const UnifiedMemory outputs = Unified(std::vector<float>(count * hidden, NAN));
    const UnifiedMemory h = Unified(std::vector<uint16_t>(h_elements, 0x7fc0));
    std::vector<ExpertRow> rows;
    for (size_t i = 0; i < count; ++i) {
      rows.push_back({inputs.As<uint16_t>() + i * hidden,
                      outputs.As<float>() + (count - 1 - i) * hidden, problem.gate_weights[i]});
    }
    std::vector<GroupedExpertGroup> groups;
    int64_t begin = 0;
    for (size_t e = 0; e < experts.size(); ++e) {
      const int64_t end = begin + problem.rows_of_experts[e];
      groups.push_back({&experts[e], begin + skipped[e], end});
      begin = end;
    }
    const absl::Status run = ffn_->Run({rows, groups, type, h.As<uint16_t>()});
    EXPECT_TRUE(run.ok()) << run;
    const absl::Status finished = ffn_->Finish();
    EXPECT_TRUE(finished.ok()) << finished;
    Result result{.h = {h.As<uint16_t>(), h.As<uint16_t>() + h_elements}};
    for (const ExpertRow& row : rows) {
      for (size_t i = 0; i < hidden; ++i) {
        result.outputs.push_back(type == DType::kFloat32
                                     ? static_cast<const float*>(row.output)[i]
                                     : Bf16ToFloat(static_cast<const uint16_t*>(row.output)[i]));
      }
    }
    return result;
  }

  Result RunAll(const GroupedProblem& problem, DType type) {
    return Run(problem, Upload(problem), type, std::vector<int64_t>(problem.experts.size(), 0));
  }

  void ExpectRight(const GroupedProblem& problem, DType type) {
    const Result result = RunAll(problem, type);
    testing::ExpectWithinBounds(problem, result.h.data(), type, [&](int64_t row, int64_t i) {
      return result.outputs[static_cast<size_t>(row * problem.shape.hidden + i)];
    });
  }

  std::unique_ptr<GroupedExpertFfn> ffn_;
};

TEST_F(GroupedGemmCudaTest, IsWithinTheBoundOverShapes) {
  for (const ExpertShape& shape : {ExpertShape{8, 1, true},
                                   {64, 64, true},
                                   {72, 100, true},
                                   {768, 3072, true},
                                   {2048, 1408, true},
                                   {328, 401, false},
                                   {4096, 512, true},
                                   {512, 4096, false}}) {
    for (const std::vector<int64_t>& rows :
         std::vector<std::vector<int64_t>>{{1}, {8}, {9, 0, 3}, {33, 1}, {128}, {64, 129, 2}}) {
      SCOPED_TRACE(::testing::Message() << shape.hidden << " x " << shape.intermediate << ", "
                                        << ::testing::PrintToString(rows) << " rows");
      ExpectRight({shape, Activation::kSilu, false, rows}, DType::kBfloat16);
    }
  }
}

TEST_F(GroupedGemmCudaTest, EveryKindOfNetworkIsWithinTheBound) {
  for (const Activation activation : {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh,
                                      Activation::kRelu, Activation::kClampedSwiGlu}) {
    for (const bool gated : {true, false}) {
      if (!gated && activation == Activation::kClampedSwiGlu) continue;
      for (const bool biased : {false, true}) {
        SCOPED_TRACE(::testing::Message() << static_cast<int>(activation) << gated << biased);
        const GroupedProblem problem({136, 333, gated}, activation, biased, {5, 40});
        ExpectRight(problem, DType::kBfloat16);
        ExpectRight(problem, DType::kFloat32);
      }
    }
  }
}

PackedMatrix Pack(const std::vector<uint16_t>& values, int64_t n, int64_t k) {
  PackedMatrix w(NumericsClass::kBf16, n, k);
  w.PackRows(0, n, values.data(), DType::kBfloat16);
  return w;
}

// How far two right outputs can be from each other: each rounds h, of which every element may go
// the other way.
double OutputBound(const GroupedProblem& problem, int64_t row, int64_t feature) {
  const int64_t n = problem.shape.intermediate;
  const uint16_t* const w = problem.experts[problem.ExpertOf(row)].down.data() + feature * n;
  double difference = 0, magnitudes = 0;
  for (int64_t i = 0; i < n; ++i) {
    const testing::Bounded h = problem.Hidden(row, i);
    const double weight = std::abs(double{Bf16ToFloat(w[i])});
    difference += 2 * h.bound * weight;
    magnitudes += (std::abs(h.value) + h.bound) * weight;
  }
  difference += 2 * testing::SumBound(n, magnitudes);
  const double gate = std::abs(problem.gate_weights[static_cast<size_t>(row)]);
  return gate * (difference + 2 * testing::RoundingBound(magnitudes));
}

TEST_F(GroupedGemmCudaTest, IsWithinTheBoundOfTheScalarReference) {
  const GroupedProblem problem({256, 512, true}, Activation::kSilu, false, {3, 20});
  const Result result = RunAll(problem, DType::kBfloat16);
  std::vector<ExpertWeights> experts(2);
  for (size_t i = 0; i < 2; ++i) {
    experts[i].gate = Pack(problem.experts[i].gate, 512, 256);
    experts[i].up = Pack(problem.experts[i].up, 512, 256);
    experts[i].down = Pack(problem.experts[i].down, 256, 512);
  }
  std::vector<uint16_t> outputs(problem.inputs.size());
  std::vector<ExpertRow> rows;
  for (size_t i = 0; i < 23; ++i) {
    rows.push_back({&problem.inputs[i * 256], &outputs[i * 256], problem.gate_weights[i]});
  }
  const std::vector<ExpertGroup> groups = {{experts.data(), 0, 3}, {&experts[1], 3, 23}};
  ExpertFfnReference({.rows = rows, .groups = groups, .output_type = DType::kBfloat16});
  for (int64_t row = 0; row < 23; ++row) {
    for (int64_t i = 0; i < 256; ++i) {
      const auto at = static_cast<size_t>(row * 256 + i);
      const testing::Bounded expected = {Bf16ToFloat(outputs[at]), OutputBound(problem, row, i)};
      ASSERT_TRUE(testing::Within(result.outputs[at], expected)) << row << ", " << i;
    }
  }
}

// A row's bits beside 0 to 511 others, of its expert and of another: this decides whether class
// bf16-sm90 may choose the width of the instruction by the number of rows. Should it ever fail,
// kTokenWidths must become a single one.
TEST_F(GroupedGemmCudaTest, ARowDoesNotDependOnTheBatch) {
  constexpr int64_t kRows = 512;
  const GroupedProblem problem({512, 704, true}, Activation::kSilu, true, {kRows, 3});
  const std::vector<GroupedExpert> experts = Upload(problem);
  const Result all = Run(problem, experts, DType::kFloat32, {0, 0});
  const auto hidden = static_cast<size_t>(problem.shape.hidden);
  for (int64_t m = 1; m < kRows; ++m) {
    // The last m rows, which are then in other columns of other tiles, and more or less company.
    const Result some = Run(problem, experts, DType::kFloat32, {kRows - m, m % 4});
    const size_t first = static_cast<size_t>(kRows - m) * hidden;
    const size_t last = static_cast<size_t>(kRows) * hidden;
    ASSERT_EQ(
        std::memcmp(&some.outputs[first], &all.outputs[first], (last - first) * sizeof(float)), 0)
        << m << " rows";
  }
}

TEST_F(GroupedGemmCudaTest, NonFiniteRowsStayAlone) {
  GroupedProblem problem({64, 64, true}, Activation::kSilu, false, {6});
  const Result clean = RunAll(problem, DType::kBfloat16);
  problem.inputs[2 * 64 + 5] = 0x7fc0;
  problem.inputs[4 * 64] = 0x7f80;
  const Result result = RunAll(problem, DType::kBfloat16);
  for (size_t i = 0; i < result.outputs.size(); ++i) {
    const size_t row = i / 64;
    if (row == 2 || row == 4) {
      EXPECT_FALSE(std::isfinite(result.outputs[i])) << row;
    } else {
      EXPECT_TRUE(testing::SameBits(result.outputs[i], clean.outputs[i])) << row;
    }
  }
}

TEST_F(GroupedGemmCudaTest, EmptyBatchIsNothing) {
  EXPECT_TRUE(ffn_->Run({}).ok());
  const GroupedProblem problem({64, 64, true}, Activation::kSilu, false, {1});
  const std::vector<GroupedExpert> experts = Upload(problem);
  Run(problem, experts, DType::kBfloat16, {1});
}

TEST_F(GroupedGemmCudaTest, RefusesWhatItCannotTake) {
  const GroupedProblem problem({64, 64, true}, Activation::kSilu, false, {1});
  const GroupedProblem other({64, 72, true}, Activation::kSilu, false, {1});
  std::vector<GroupedExpert> experts = Upload(problem);
  experts.push_back(std::move(Upload(other)[0]));
  const std::vector<ExpertRow> rows(2);
  const auto message = [&](const std::vector<GroupedExpertGroup>& groups) {
    const absl::Status status = ffn_->Run({rows, groups});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message({{&experts[0], 0, 3}}), ::testing::HasSubstr("rows 0 to 3"));
  EXPECT_THAT(message({{&experts[0], 0, 1}, {&experts[1], 1, 2}}),
              ::testing::HasSubstr("differ in their sizes"));
}

TEST(GroupedGemmWithoutADeviceTest, AnErrorSaysSo) {
  if (DeviceCount().ok()) GTEST_SKIP() << "this machine has a device";
  EXPECT_EQ(GroupedExpertFfn::Create(0).status().code(), absl::StatusCode::kFailedPrecondition);
  const GroupedProblem problem({8, 1, true}, Activation::kSilu, false, {1});
  EXPECT_EQ(GroupedExpert::Create(problem.Source(0)).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace switchyard::kernels
