// Class bf16-sm90 on every device that has it: within the computed bound of exact sums and of the
// scalar reference of class bf16, and the same bits whatever else is in the batch. On the emulated
// device that is about what surrounds the products; about tensor cores only a GPU can tell.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/base/bf16.h"
#include "kernels/base/memory.h"
#include "kernels/expert_ffn/grouped_gemm_test_case.h"
#include "kernels/testing/devices.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::ExpertShape;
using testing::GroupedProblem;

constexpr NumericsClass kClass = NumericsClass::kBf16Sm90;

// What a run leaves: h and the outputs by row.
struct Result {
  std::vector<uint16_t> h;
  std::vector<float> outputs;
};

class GroupedGemmDeviceTest : public ::testing::TestWithParam<Device*> {
 protected:
  static Device& device() { return *GetParam(); }
  static bool is_gpu() { return device().name() != "emulated"; }

  // Runs the rows [skipped[e], rows of e) of each expert e. Outputs lie from last to first.
  static Result Run(const GroupedProblem& problem, const std::vector<ExpertWeights>& experts,
                    DType type, const std::vector<int64_t>& skipped, bool on_host = false) {
    const auto hidden = static_cast<size_t>(problem.shape.hidden);
    const auto count = static_cast<size_t>(problem.rows);
    const DeviceVector<uint16_t> inputs(problem.inputs.begin(), problem.inputs.end());
    DeviceVector<float> outputs(count * hidden, NAN);
    std::vector<ExpertRow> rows;
    for (size_t i = 0; i < count; ++i) {
      rows.push_back(
          {&inputs[i * hidden], &outputs[(count - 1 - i) * hidden], problem.gate_weights[i]});
    }
    std::vector<ExpertGroup> groups;
    int64_t begin = 0;
    for (size_t e = 0; e < experts.size(); ++e) {
      const int64_t end = begin + problem.rows_of_experts[e];
      groups.push_back({&experts[e], begin + skipped[e], end});
      begin = end;
    }
    ExpertWorkspace workspace;
    device().ExpertFfn(
        {.rows = rows, .groups = groups, .output_type = type, .rows_on_host = on_host}, workspace);
    const absl::Status finished = device().Finish();
    EXPECT_TRUE(finished.ok()) << finished;
    const auto* const h = workspace.activations.As<uint16_t>();
    Result result{.h = {h, h + workspace.activations.size() / sizeof(*h)}};
    for (const ExpertRow& row : rows) {
      for (size_t i = 0; i < hidden; ++i) {
        result.outputs.push_back(type == DType::kFloat32
                                     ? static_cast<const float*>(row.output)[i]
                                     : Bf16ToFloat(static_cast<const uint16_t*>(row.output)[i]));
      }
    }
    return result;
  }

  static Result RunAll(const GroupedProblem& problem, DType type, bool on_host = false) {
    return Run(problem, problem.AllWeights(kClass), type,
               std::vector<int64_t>(problem.experts.size(), 0), on_host);
  }

  static void ExpectRight(const GroupedProblem& problem, DType type, bool on_host = false) {
    const Result result = RunAll(problem, type, on_host);
    testing::ExpectWithinBounds(problem, result.h.data(), type, [&](int64_t row, int64_t i) {
      return result.outputs[static_cast<size_t>(row * problem.shape.hidden + i)];
    });
  }

  static void ExpectMatmul(int64_t m, int64_t n, int64_t k, int64_t x_stride, int64_t y_stride) {
    const auto bits = [](int64_t count, uint32_t seed) {
      DeviceVector<uint16_t> narrow;
      for (const float value : testing::RandomValues(count, seed))
        narrow.push_back(FloatToBf16(value));
      return narrow;
    };
    const DeviceVector<uint16_t> x = bits(m * x_stride, 3), values = bits(n * k, 4);
    PackedMatrix w(kClass, n, k);
    w.PackRows(0, n, values.data(), DType::kBfloat16);
    DeviceVector<float> y(static_cast<size_t>(m * y_stride), -1.0f), alone(static_cast<size_t>(n));
    device().Matmul({.x = x.data(),
                     .x_stride = x_stride,
                     .m = m,
                     .w = &w,
                     .y = y.data(),
                     .y_stride = y_stride});
    device().Matmul({.x = &x[static_cast<size_t>((m - 1) * x_stride)],
                     .x_stride = x_stride,
                     .m = 1,
                     .w = &w,
                     .y = alone.data(),
                     .y_stride = n});
    ASSERT_TRUE(device().Finish().ok());
    for (int64_t row = 0; row < m; ++row) {
      for (int64_t i = 0; i < y_stride; ++i) {
        const float found = y[static_cast<size_t>(row * y_stride + i)];
        if (i >= n) {
          ASSERT_EQ(found, -1.0f) << "between rows " << row;
          continue;
        }
        const auto expected =
            testing::ExactSum(&values[static_cast<size_t>(i * k)],
                              &x[static_cast<size_t>(row * x_stride)], k, nullptr);
        ASSERT_TRUE(testing::Within(found, expected)) << row << ", " << i;
      }
    }
    const float* const last = &y[static_cast<size_t>((m - 1) * y_stride)];
    ASSERT_EQ(std::memcmp(last, alone.data(), static_cast<size_t>(n) * sizeof(float)), 0);
  }
};

TEST_P(GroupedGemmDeviceTest, IsWithinTheBoundOverShapes) {
  std::vector<ExpertShape> shapes = {
      {8, 1, true}, {64, 64, true}, {72, 100, true}, {136, 201, false}};
  if (is_gpu()) {
    shapes.insert(shapes.end(), {{768, 3072, true},
                                 {2048, 1408, true},
                                 {328, 401, false},
                                 {4096, 512, true},
                                 {512, 4096, false}});
  }
  for (const ExpertShape& shape : shapes) {
    for (const std::vector<int64_t>& rows :
         std::vector<std::vector<int64_t>>{{1}, {8}, {9, 0, 3}, {33, 1}, {128}, {64, 129, 2}}) {
      SCOPED_TRACE(::testing::Message() << shape.hidden << " x " << shape.intermediate << ", "
                                        << ::testing::PrintToString(rows) << " rows");
      ExpectRight({shape, Activation::kSilu, false, rows}, DType::kBfloat16);
    }
  }
}

// Sizes at which rows start at no multiple of 16 bytes and outputs cannot be stored in pairs.
TEST_P(GroupedGemmDeviceTest, TakesAnySize) {
  for (const int64_t hidden : {1, 7, 12, 33, 66}) {
    for (const DType type : {DType::kFloat32, DType::kBfloat16}) {
      for (const bool on_host : {false, true}) {
        SCOPED_TRACE(::testing::Message() << hidden << " " << SizeOf(type) << " " << on_host);
        ExpectRight({{hidden, 13, true}, Activation::kSilu, true, {5, 2}}, type, on_host);
      }
    }
  }
}

TEST_P(GroupedGemmDeviceTest, EveryKindOfNetworkIsWithinTheBound) {
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

TEST_P(GroupedGemmDeviceTest, IsWithinTheBoundOfTheScalarReference) {
  const GroupedProblem problem({128, 96, true}, Activation::kSilu, false, {3, 20});
  const Result result = RunAll(problem, DType::kBfloat16);
  const std::vector<ExpertWeights> experts = problem.AllWeights(NumericsClass::kBf16);
  std::vector<uint16_t> outputs(problem.inputs.size());
  std::vector<ExpertRow> rows;
  for (size_t i = 0; i < 23; ++i) {
    rows.push_back({&problem.inputs[i * 128], &outputs[i * 128], problem.gate_weights[i]});
  }
  const std::vector<ExpertGroup> groups = {{experts.data(), 0, 3}, {&experts[1], 3, 23}};
  ExpertFfnReference({.rows = rows, .groups = groups, .output_type = DType::kBfloat16});
  for (int64_t row = 0; row < 23; ++row) {
    for (int64_t i = 0; i < 128; ++i) {
      const auto at = static_cast<size_t>(row * 128 + i);
      const testing::Bounded expected = {Bf16ToFloat(outputs[at]), OutputBound(problem, row, i)};
      ASSERT_TRUE(testing::Within(result.outputs[at], expected)) << row << ", " << i;
    }
  }
}

// A row's bits beside 0 to 511 others, of its expert and of another: on a GPU this decides whether
// class bf16-sm90 may choose the width of the instruction by the number of rows. Should it ever
// fail, kTokenWidths must become a single one.
TEST_P(GroupedGemmDeviceTest, ARowDoesNotDependOnTheBatch) {
  constexpr int64_t kRows = 512;
  const ExpertShape shape = is_gpu() ? ExpertShape{512, 704, true} : ExpertShape{8, 9, true};
  const GroupedProblem problem(shape, Activation::kSilu, true, {kRows, 3});
  const std::vector<ExpertWeights> experts = problem.AllWeights(kClass);
  const Result all = Run(problem, experts, DType::kFloat32, {0, 0});
  const auto hidden = static_cast<size_t>(shape.hidden);
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

TEST_P(GroupedGemmDeviceTest, NonFiniteRowsStayAlone) {
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

TEST_P(GroupedGemmDeviceTest, NoRowsIsNothing) {
  const GroupedProblem problem({64, 64, true}, Activation::kSilu, false, {1});
  Run(problem, problem.AllWeights(kClass), DType::kBfloat16, {1});
  ExpertWorkspace workspace;
  device().ExpertFfn({}, workspace);
  EXPECT_TRUE(device().Finish().ok());
}

// A matmul, with rows further apart than they are long, is within the bound, and a row alone has
// the bits that it has among others.
TEST_P(GroupedGemmDeviceTest, MatmulIsWithinTheBoundAndDoesNotDependOnTheBatch) {
  for (const int64_t n : {1, 63, 64, 130}) {
    for (const int64_t k : {1, 8, 65, 200}) {
      for (const int64_t m : {1, 7, 129}) {
        SCOPED_TRACE(::testing::Message() << m << " x " << n << " x " << k);
        ExpectMatmul(m, n, k, k, n);
        ExpectMatmul(m, n, k, k + 3, n + 1);
        ExpectMatmul(m, n, k, grouped::RowStride(k) + 8, n + n % 2);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, GroupedGemmDeviceTest,
                         ::testing::ValuesIn(testing::TestDevices()), [](const auto& info) {
                           std::string name(info.param->name());
                           std::erase(name, ':');
                           return name;
                         });

}  // namespace
}  // namespace switchyard::kernels
