#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels/base/bf16.h"
#include "kernels/base/memory.h"
#include "kernels/expert_ffn/expert_ffn.h"
#include "kernels/testing/devices.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomFloats;

PackedMatrix RandomMatrix(NumericsClass numerics, int64_t n, int64_t k, uint32_t seed) {
  const Floats values = RandomFloats(n * k, seed, 1.0f / std::sqrt(static_cast<float>(k)));
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
  int64_t row_count = 0;
  Floats inputs, gate_weights;

  Problem(NumericsClass numerics, int64_t hidden, int64_t intermediate,
          const std::vector<int64_t>& rows_of_groups, DType output_type)
      : numerics(numerics),
        hidden(hidden),
        output_type(output_type),
        experts(rows_of_groups.size()) {
    uint32_t seed = static_cast<uint32_t>(hidden * 31 + intermediate);
    for (size_t i = 0; i < experts.size(); ++i) {
      experts[i].gate = RandomMatrix(numerics, intermediate, hidden, ++seed);
      experts[i].up = RandomMatrix(numerics, intermediate, hidden, ++seed);
      experts[i].down = RandomMatrix(numerics, hidden, intermediate, ++seed);
      groups.push_back({&experts[i], row_count, row_count + rows_of_groups[i]});
      row_count += rows_of_groups[i];
    }
    inputs = RandomFloats(row_count * hidden, ++seed);
    gate_weights = RandomFloats(row_count, ++seed);
  }

  // Turns the experts into another kind of network.
  void Become(Activation activation, bool gated, bool biased) {
    const auto fill = [](auto& bias, int64_t n, uint32_t seed) {
      const Floats values = RandomFloats(n, seed);
      bias.assign(values.begin(), values.end());
    };
    for (ExpertWeights& expert : experts) {
      expert.activation = activation;
      expert.limit = 0.75f;
      if (!gated) expert.up = PackedMatrix();
      if (!biased) continue;
      fill(expert.gate_bias, expert.gate.n(), 1);
      if (gated) fill(expert.up_bias, expert.up.n(), 2);
      fill(expert.down_bias, expert.down.n(), 3);
    }
  }

  // The outputs' elements, widened. Rows lie in a Bytes: a DeviceVector or, on the host, a vector.
  // They are listed from last to first within their memory, so that none is where its index says.
  template <typename Bytes, typename F>
  Floats Run(const F& run) const {
    const DType wire = WireType(numerics);
    Bytes input(inputs.size() * SizeOf(wire)), output(inputs.size() * SizeOf(output_type));
    for (size_t i = 0; i < inputs.size(); ++i) {
      const uint16_t narrow = FloatToBf16(inputs[i]);
      const void* const element = wire == DType::kFloat32 ? static_cast<const void*>(&inputs[i])
                                                          : static_cast<const void*>(&narrow);
      std::memcpy(&input[i * SizeOf(wire)], element, SizeOf(wire));
    }
    std::vector<ExpertRow> rows;
    for (int64_t i = 0; i < row_count; ++i) {
      const size_t first = static_cast<size_t>((row_count - 1 - i) * hidden);
      rows.push_back(
          {&input[first * SizeOf(wire)], &output[first * SizeOf(output_type)], gate_weights[i]});
    }
    run(ExpertBatch{.rows = rows, .groups = groups, .output_type = output_type});
    Floats result(inputs.size());
    for (size_t i = 0; i < result.size(); ++i) {
      uint16_t narrow;
      std::memcpy(&narrow, &output[i * SizeOf(output_type)], sizeof(narrow));
      result[i] = Bf16ToFloat(narrow);
      if (output_type == DType::kFloat32) std::memcpy(&result[i], &output[i * 4], 4);
    }
    return result;
  }
};

void ExpectEqualsReference(const Problem& problem) {
  const Floats expected = problem.Run<std::vector<char>>(ExpertFfnReference);
  for (Device* device : testing::TestDevices()) {
    SCOPED_TRACE(::testing::Message() << device->name() << " " << Name(problem.numerics)
                                      << " hidden=" << problem.hidden);
    ExpertWorkspace workspace;
    const Floats in_place = problem.Run<DeviceVector<char>>([&](const ExpertBatch& batch) {
      device->ExpertFfn(batch, workspace);
      EXPECT_TRUE(device->Finish().ok());
    });
    ASSERT_TRUE(testing::SameBits(in_place, expected));
    // The call has waited: there is no Finish.
    const Floats on_host = problem.Run<std::vector<char>>([&](ExpertBatch batch) {
      batch.rows_on_host = true;
      device->ExpertFfn(batch, workspace);
    });
    EXPECT_TRUE(device->Finish().ok());
    ASSERT_TRUE(testing::SameBits(on_host, expected));
  }
}

class ExpertFfnSimtTest : public ::testing::TestWithParam<NumericsClass> {};

TEST_P(ExpertFfnSimtTest, EqualsReference) {
  const DType wire = WireType(GetParam());
  ExpectEqualsReference(Problem(GetParam(), 32, 64, {1}, wire));
  ExpectEqualsReference(Problem(GetParam(), 64, 160, {1, 1, 1, 1}, wire));
  ExpectEqualsReference(Problem(GetParam(), 48, 96, {5, 0, 17, 1}, DType::kFloat32));
  ExpectEqualsReference(Problem(GetParam(), 33, 47, {3, 2}, wire));
  ExpectEqualsReference(Problem(GetParam(), 47, 101, {9, 1}, DType::kFloat32));
  ExpectEqualsReference(Problem(GetParam(), 64, 48, {130}, wire));
  ExpectEqualsReference(Problem(GetParam(), 768, 320, {2, 1}, wire));
}

TEST_P(ExpertFfnSimtTest, EveryKindOfNetworkEqualsTheReference) {
  for (const Activation activation : {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh,
                                      Activation::kRelu, Activation::kClampedSwiGlu}) {
    for (const bool gated : {true, false}) {
      if (!gated && activation == Activation::kClampedSwiGlu) continue;
      for (const bool biased : {false, true}) {
        SCOPED_TRACE(::testing::Message() << static_cast<int>(activation) << gated << biased);
        Problem problem(GetParam(), 33, 147, {3, 2}, WireType(GetParam()));
        problem.Become(activation, gated, biased);
        ExpectEqualsReference(problem);
      }
    }
  }
}

TEST_P(ExpertFfnSimtTest, NonFiniteRowsEqualTheReference) {
  for (const Activation activation : {Activation::kSilu, Activation::kClampedSwiGlu}) {
    Problem problem(GetParam(), 33, 47, {6}, DType::kFloat32);
    problem.Become(activation, true, true);
    problem.inputs[3 * 33 + 32] = std::numeric_limits<float>::infinity();
    problem.inputs[4 * 33] = std::numeric_limits<float>::quiet_NaN();
    ExpectEqualsReference(problem);
  }
}

TEST_P(ExpertFfnSimtTest, EmptyBatchIsNothing) {
  const Problem no_rows(GetParam(), 32, 32, {0, 0}, DType::kFloat32);
  for (Device* device : testing::TestDevices()) {
    ExpertWorkspace workspace;
    device->ExpertFfn({}, workspace);
    device->ExpertFfn({.groups = no_rows.groups, .rows_on_host = true}, workspace);
    EXPECT_TRUE(device->Finish().ok());
  }
}

INSTANTIATE_TEST_SUITE_P(Classes, ExpertFfnSimtTest,
                         ::testing::Values(NumericsClass::kFp32, NumericsClass::kBf16),
                         [](const auto& info) { return std::string(Name(info.param)); });

}  // namespace
}  // namespace switchyard::kernels
