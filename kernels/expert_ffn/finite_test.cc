#include "kernels/expert_ffn/finite.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "kernels/base/bf16.h"
#include "kernels/base/test_levels.h"

namespace switchyard::kernels {
namespace {

TEST(AllFiniteTest, FindsOneBadElementAnywhere) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (CpuLevel level : RunnableCpuLevels()) {
    ScopedCpuLevel forced(level);
    for (size_t n : {1, 15, 16, 17, 40}) {
      // The largest finite values must not overflow on the way.
      std::vector<float> row(n, std::numeric_limits<float>::max());
      std::vector<uint16_t> row_bf16(n, 0x7f7f);
      EXPECT_TRUE(AllFinite(row.data(), DType::kFloat32, static_cast<int64_t>(n)));
      EXPECT_TRUE(AllFinite(row_bf16.data(), DType::kBfloat16, static_cast<int64_t>(n)));
      for (size_t at = 0; at < n; ++at) {
        for (float bad : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
          row[at] = bad;
          row_bf16[at] = FloatToBf16(bad);
          EXPECT_FALSE(AllFinite(row.data(), DType::kFloat32, static_cast<int64_t>(n)));
          EXPECT_FALSE(AllFinite(row_bf16.data(), DType::kBfloat16, static_cast<int64_t>(n)));
        }
        row[at] = 1.0f;
        row_bf16[at] = 0x3f80;
      }
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels
