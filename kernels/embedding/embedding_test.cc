#include "kernels/embedding/embedding.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/base/bf16.h"

namespace switchyard::kernels {
namespace {

TEST(EmbeddingTest, CopiesRowsOfBothTypes) {
  constexpr int64_t kWidth = 19;
  std::vector<float> table;
  std::vector<uint16_t> table_bf16;
  for (int i = 0; i < 5 * kWidth; ++i) {
    table.push_back(static_cast<float>(i) * 0.25f);
    table_bf16.push_back(FloatToBf16(table.back()));
  }
  const std::vector<int32_t> ids = {4, 0, 4, 2};
  std::vector<float> output(ids.size() * kWidth), output_bf16(ids.size() * kWidth);
  Embedding({.table = table.data(),
             .type = DType::kFloat32,
             .width = kWidth,
             .ids = ids.data(),
             .rows = 4,
             .output = output.data()});
  Embedding({.table = table_bf16.data(),
             .type = DType::kBfloat16,
             .width = kWidth,
             .ids = ids.data(),
             .rows = 4,
             .output = output_bf16.data()});
  for (size_t row = 0; row < ids.size(); ++row) {
    for (size_t i = 0; i < kWidth; ++i) {
      const size_t from = static_cast<size_t>(ids[row]) * kWidth + i;
      EXPECT_EQ(output[row * kWidth + i], table[from]);
      EXPECT_EQ(output_bf16[row * kWidth + i], Bf16ToFloat(table_bf16[from]));
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels
