#include "kernels/expert_ffn/combine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <vector>

#include "kernels/base/bf16.h"
#include "kernels/base/test_levels.h"

namespace switchyard::kernels {
namespace {

// The definition, over ids [first, first + width), one element.
std::optional<float> TreeSum(const std::map<int32_t, float>& leaves, int32_t first, int32_t width,
                             DType wire_type) {
  if (width == 1) {
    const auto leaf = leaves.find(first);
    return leaf == leaves.end() ? std::nullopt : std::optional(leaf->second);
  }
  const auto left = TreeSum(leaves, first, width / 2, wire_type);
  const auto right = TreeSum(leaves, first + width / 2, width / 2, wire_type);
  if (!left || !right) return left ? left : right;
  const float sum = *left + *right;
  return wire_type == DType::kBfloat16 ? RoundToBf16(sum) : sum;
}

struct Rows {
  std::vector<std::vector<float>> fp32;  // exact in the wire type
  std::vector<std::vector<uint16_t>> bf16;
  std::vector<CombineRow> rows;

  Rows(const std::vector<int32_t>& experts, DType wire_type, int64_t hidden) {
    std::mt19937 random(11);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < experts.size(); ++i) {
      fp32.emplace_back();
      bf16.emplace_back();
      for (int64_t j = 0; j < hidden; ++j) {
        bf16[i].push_back(FloatToBf16(normal(random)));
        fp32[i].push_back(wire_type == DType::kBfloat16 ? Bf16ToFloat(bf16[i].back())
                                                        : normal(random));
      }
    }
    for (size_t i = 0; i < experts.size(); ++i) {
      rows.push_back({experts[i], wire_type == DType::kBfloat16
                                      ? static_cast<const void*>(bf16[i].data())
                                      : fp32[i].data()});
    }
  }
};

TEST(CombineTest, EqualsTheTreeOverExpertIdsAtEveryLevel) {
  const std::vector<std::vector<int32_t>> choices = {
      {0}, {5}, {1, 0}, {3, 1, 2}, {7, 0, 4, 1}, {15, 2, 9, 3, 8, 1, 0, 14}, {255, 17, 16, 4}};
  for (DType wire_type : {DType::kFloat32, DType::kBfloat16}) {
    for (int64_t hidden : {1, 15, 16, 50, 768}) {
      for (const auto& experts : choices) {
        const Rows input(experts, wire_type, hidden);
        std::vector<float> residual(static_cast<size_t>(hidden), 0.375f), expected;
        for (int64_t j = 0; j < hidden; ++j) {
          std::map<int32_t, float> leaves;
          for (size_t i = 0; i < experts.size(); ++i) {
            leaves[experts[i]] = input.fp32[i][static_cast<size_t>(j)];
          }
          expected.push_back(0.375f + *TreeSum(leaves, 0, 256, wire_type));
        }
        for (CpuLevel level : RunnableCpuLevels()) {
          ScopedCpuLevel forced(level);
          std::vector<float> output(static_cast<size_t>(hidden));
          Combine(input.rows, wire_type, hidden, residual.data(), output.data());
          EXPECT_EQ(output, expected) << Name(level) << " rows=" << experts.size();
        }
      }
    }
  }
}

TEST(CombineTest, OrderOfRowsDoesNotMatter) {
  Rows input({6, 1, 12, 7}, DType::kBfloat16, 40);
  std::vector<float> residual(40, -1.0f), first(40), second(40);
  Combine(input.rows, DType::kBfloat16, 40, residual.data(), first.data());
  std::reverse(input.rows.begin(), input.rows.end());
  Combine(input.rows, DType::kBfloat16, 40, residual.data(), second.data());
  EXPECT_EQ(first, second);
}

TEST(CombineTest, OutputMayBeTheResidual) {
  const Rows input({2, 3}, DType::kFloat32, 20);
  std::vector<float> residual(20, 2.0f), output(20);
  Combine(input.rows, DType::kFloat32, 20, residual.data(), output.data());
  Combine(input.rows, DType::kFloat32, 20, residual.data(), residual.data());
  EXPECT_EQ(residual, output);
}

TEST(CombineTest, WithoutRowsCopiesTheResidual) {
  const std::vector<float> residual = {1.0f, -2.0f, 3.5f};
  std::vector<float> output(3);
  Combine({}, DType::kBfloat16, 3, residual.data(), output.data());
  EXPECT_EQ(output, residual);
}

TEST(CombineTest, TakesSixtyFourRows) {
  std::vector<int32_t> experts;
  for (int32_t i = 0; i < 64; ++i) experts.push_back(63 - i);
  const Rows input(experts, DType::kFloat32, 3);
  std::map<int32_t, float> leaves;
  for (size_t i = 0; i < experts.size(); ++i) leaves[experts[i]] = input.fp32[i][2];
  const std::vector<float> residual(3, 0.0f);
  std::vector<float> output(3);
  Combine(input.rows, DType::kFloat32, 3, residual.data(), output.data());
  EXPECT_EQ(output[2], *TreeSum(leaves, 0, 64, DType::kFloat32));
}

}  // namespace
}  // namespace switchyard::kernels
