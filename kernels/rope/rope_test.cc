#include "kernels/rope/rope.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bazel/fixtures/fixtures.h"
#include "kernels/base/test_levels.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomValues;
using testing::SameBits;

RopeTable Table(int64_t half, float attention_factor) {
  RopeTable table{.attention_factor = attention_factor};
  for (int64_t i = 0; i < half; ++i) {
    table.inverse_frequency.push_back(std::pow(10000.0f, -static_cast<float>(i) / half));
  }
  return table;
}

struct Case {
  int64_t rows, heads, head_dim, half;
  float attention_factor;
  bool interleaved = false;
};

TEST(RopeTest, EveryLevelAndThreadCountEqualsTheReference) {
  for (const Case c : {Case{1, 1, 2, 1, 1}, Case{3, 2, 16, 8, 1}, Case{19, 3, 128, 64, 1.25f},
                       Case{5, 1, 80, 20, 1}, Case{4, 2, 96, 48, 0.5f}, Case{1, 1, 2, 1, 1, true},
                       Case{3, 2, 16, 8, 1, true}, Case{19, 3, 96, 32, 1.25f, true},
                       Case{5, 4, 40, 19, 1, true}}) {
    const RopeTable table = Table(c.half, c.attention_factor);
    const int64_t stride = c.heads * c.head_dim + 3;
    const std::vector<float> x = RandomValues(c.rows * stride, 1);
    std::vector<int64_t> positions;
    for (int64_t row = 0; row < c.rows; ++row) positions.push_back(row * row * 7919);
    const auto args = [&](std::vector<float>& values) {
      return RopeArgs{.x = values.data(),
                      .row_stride = stride,
                      .rows = c.rows,
                      .heads = c.heads,
                      .head_dim = c.head_dim,
                      .positions = positions.data(),
                      .table = &table,
                      .interleaved = c.interleaved};
    };
    std::vector<float> expected = x;
    RopeReference(args(expected));
    for (CpuLevel level : RunnableCpuLevels()) {
      ScopedCpuLevel scope(level);
      for (int threads : {1, 2}) {
        SCOPED_TRACE(::testing::Message() << Name(level) << ", head_dim " << c.head_dim
                                          << (c.interleaved ? ", interleaved" : ""));
        ThreadPool pool(threads);
        std::vector<float> actual = x;
        Rope(args(actual), pool);
        EXPECT_TRUE(SameBits(actual, expected));
      }
    }
  }
}

TEST(RopeTest, PositionZeroChangesNothing) {
  const RopeTable table = Table(32, 1);
  std::vector<float> x = RandomValues(64, 2);
  const std::vector<float> before = x;
  const int64_t position = 0;
  RopeReference({.x = x.data(),
                 .row_stride = 64,
                 .rows = 1,
                 .heads = 1,
                 .head_dim = 64,
                 .positions = &position,
                 .table = &table});
  EXPECT_EQ(x, before);
}

class RopeGoldenTest : public ::testing::TestWithParam<std::string> {};

// Both orders of pairs, against the rotated vectors and, closer, against what the stored sines and
// cosines give in double precision.
TEST_P(RopeGoldenTest, RotatesAsTransformers) {
  SWITCHYARD_FIXTURE_OR_SKIP(path, "rope/" + GetParam() + ".json");
  std::ifstream file(path);
  const nlohmann::json golden = nlohmann::json::parse(file, nullptr, false);
  ASSERT_FALSE(golden.is_discarded());
  const RopeTable table{.inverse_frequency = golden["inv_freq_fp32"].get<std::vector<float>>(),
                        .attention_factor = golden["attention_factor"]};
  const std::vector<float> q = golden["q"].get<std::vector<float>>();
  const auto positions = golden["positions"].get<std::vector<int64_t>>();
  const auto cosines = golden["cos_fp32"].get<std::vector<std::vector<float>>>();
  const auto sines = golden["sin_fp32"].get<std::vector<std::vector<float>>>();
  const size_t half = table.inverse_frequency.size();
  for (bool interleaved : {false, true}) {
    const auto rotated = golden[interleaved ? "rotated_interleaved" : "rotated_half_split"]
                             .get<std::vector<std::vector<float>>>();
    for (size_t p = 0; p < positions.size(); ++p) {
      std::vector<float> x = q;
      RopeReference({.x = x.data(),
                     .row_stride = static_cast<int64_t>(q.size()),
                     .rows = 1,
                     .heads = 1,
                     .head_dim = static_cast<int64_t>(q.size()),
                     .positions = &positions[p],
                     .table = &table,
                     .interleaved = interleaved});
      for (size_t i = 0; i < half; ++i) {
        const size_t a = interleaved ? 2 * i : i, b = interleaved ? 2 * i + 1 : i + half;
        const double c = cosines[p][i], s = sines[p][i];
        // Two roundings of each product and sum, and the last bit of sine and cosine.
        const double bound = 3e-7 * (std::abs(q[a]) + std::abs(q[b])) * table.attention_factor;
        EXPECT_NEAR(x[a], q[a] * c - q[b] * s, bound) << positions[p] << ", pair " << i;
        EXPECT_NEAR(x[b], q[b] * c + q[a] * s, bound) << positions[p] << ", pair " << i;
        EXPECT_NEAR(x[a], rotated[p][a], bound) << positions[p] << ", pair " << i;
        EXPECT_NEAR(x[b], rotated[p][b], bound) << positions[p] << ", pair " << i;
      }
      for (size_t i = 2 * half; i < q.size(); ++i) EXPECT_EQ(x[i], q[i]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, RopeGoldenTest,
                         ::testing::Values("default", "default_theta_1e6", "linear", "llama3",
                                           "longrope_long", "partial_half", "partial_quarter",
                                           "partial_yarn", "yarn_mscale_differ", "yarn_plain"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace switchyard::kernels
