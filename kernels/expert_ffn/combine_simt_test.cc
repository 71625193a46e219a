#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/base/bf16.h"
#include "kernels/base/memory.h"
#include "kernels/expert_ffn/combine.h"
#include "kernels/testing/devices.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomFloats;
using testing::SameBits;

// Tokens with random experts, of which some have none or no row; rows are the host's.
struct Problem {
  int64_t tokens, top_k, hidden;
  DType wire_type;
  std::vector<int32_t> experts;
  std::vector<std::vector<float>> fp32;
  std::vector<std::vector<uint16_t>> bf16;
  std::vector<const void*> results;

  Problem(int64_t tokens, int64_t top_k, int64_t hidden, int32_t expert_count, DType wire_type)
      : tokens(tokens), top_k(top_k), hidden(hidden), wire_type(wire_type) {
    std::mt19937 random(7);
    std::vector<int32_t> ids(expert_count);
    std::iota(ids.begin(), ids.end(), 0);
    for (int64_t token = 0; token < tokens; ++token) {
      std::shuffle(ids.begin(), ids.end(), random);
      experts.insert(experts.end(), ids.begin(), ids.begin() + top_k);
    }
    for (uint32_t seed = 0; seed < experts.size(); ++seed) {
      fp32.push_back(testing::RandomValues(hidden, seed));
      bf16.emplace_back();
      for (float value : fp32.back()) bf16.back().push_back(FloatToBf16(value));
    }
    for (size_t i = 0; i < experts.size(); ++i) {
      results.push_back(wire_type == DType::kFloat32 ? static_cast<const void*>(fp32[i].data())
                                                     : bf16[i].data());
    }
  }

  CombineTokensArgs Args(Floats& output) const {
    return {.rows = tokens,
            .top_k = top_k,
            .experts = experts.data(),
            .results = results.data(),
            .wire_type = wire_type,
            .hidden = hidden,
            .output = output.data()};
  }
};

void ExpectEqualsCombine(const Problem& problem) {
  const Floats residual = RandomFloats(problem.tokens * problem.hidden, 99);
  Floats expected = residual;
  ThreadPool pool(1);
  CombineTokens(problem.Args(expected), pool);
  for (Device* device : testing::TestDevices()) {
    Floats actual = residual;
    device->CombineTokens(problem.Args(actual));
    ASSERT_TRUE(device->Finish().ok());
    EXPECT_TRUE(SameBits(actual, expected))
        << device->name() << ", " << problem.tokens << " tokens of " << problem.top_k << ", hidden "
        << problem.hidden;
  }
}

TEST(CombineSimtTest, EqualsTheCpu) {
  for (const DType wire_type : {DType::kFloat32, DType::kBfloat16}) {
    for (const int64_t hidden : {1, 15, 256, 300, 768}) {
      ExpectEqualsCombine(Problem(1, 1, hidden, 4, wire_type));
      ExpectEqualsCombine(Problem(5, 2, hidden, 8, wire_type));
      ExpectEqualsCombine(Problem(17, 8, hidden, 256, wire_type));
    }
    ExpectEqualsCombine(Problem(2, 64, 33, 1000, wire_type));
  }
}

TEST(CombineSimtTest, AssignmentsWithoutAnExpertOrARowCountForNothing) {
  for (const DType wire_type : {DType::kFloat32, DType::kBfloat16}) {
    Problem problem(9, 4, 50, 16, wire_type);
    problem.experts[1] = -1;
    problem.results[6] = nullptr;
    for (int64_t i = 8; i < 12; ++i) problem.results[i] = nullptr;  // a token without any
    ExpectEqualsCombine(problem);
  }
}

TEST(CombineSimtTest, ANanRowEqualsTheCpu) {
  Problem problem(3, 2, 40, 8, DType::kFloat32);
  problem.fp32[2][7] = NAN;
  ExpectEqualsCombine(problem);
}

// The rows are read by the call: their memory may go before the operation runs.
TEST(CombineSimtTest, CopiesTheRows) {
  for (Device* device : testing::TestDevices()) {
    Problem problem(1, 1, 3, 1, DType::kFloat32);
    problem.fp32[0] = {1.0f, 2.0f, 3.0f};
    problem.results[0] = problem.fp32[0].data();
    Floats output(3, 0.5f);
    device->CombineTokens(problem.Args(output));
    problem.fp32[0] = {0.0f, 0.0f, 0.0f};
    ASSERT_TRUE(device->Finish().ok());
    EXPECT_EQ(output, (Floats{1.5f, 2.5f, 3.5f})) << device->name();
  }
}

}  // namespace
}  // namespace switchyard::kernels
