// The grouped GEMM on the host: the kernel's own roles, packing, schedule, pipeline and epilogue,
// each thread of the device a thread here, over emulated copies, barriers and matrix instructions.
// What is left to a device is those instructions themselves.

#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <thread>
#include <vector>

#include "kernels/base/memory.h"
#include "kernels/expert_ffn/grouped_gemm_emulation.h"
#include "kernels/expert_ffn/grouped_gemm_plan.h"
#include "kernels/expert_ffn/grouped_gemm_roles.h"
#include "kernels/expert_ffn/grouped_gemm_test_case.h"

namespace switchyard::kernels::grouped {
namespace {

using testing::GroupedProblem;

// RunProduct of grouped_gemm_kernel.h, one block of threads after the other.
template <Product product, int kWarpgroups>
void RunBlocks(const ProductArgs& args, int64_t blocks) {
  for (int64_t index = 0; index < blocks; ++index) {
    EmulatedBlock block(args.shared.bytes());
    g_emulated.block = &block;
    InitPipeline(args, 0, kWarpgroups);
    std::deque<std::barrier<>> warps;
    std::vector<std::thread> threads;
    for (int thread = 0; thread < ThreadsOfBlock(kWarpgroups); ++thread) {
      if (thread % 32 == 0) warps.emplace_back(32);
      threads.emplace_back([&, thread, warp = &warps.back()] {
        g_emulated.block = &block;
        g_emulated.warp = warp;
        g_emulated.index = thread;
        const Place place = {.block = index, .blocks = blocks, .thread = thread};
        RunThread<product, kWarpgroups>(args, 0, place, thread / 32);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
}

template <Product product>
void RunProduct(const ProductArgs& args, const ProductPlan& plan) {
  if (plan.shared.warpgroups == 2) {
    RunBlocks<product, 2>(args, plan.grid);
  } else {
    RunBlocks<product, 1>(args, plan.grid);
  }
}

template <typename Pack>
std::vector<std::vector<uint16_t>> PackAll(const GroupedProblem& problem, const PackedShape& shape,
                                           const Pack& pack) {
  std::vector<std::vector<uint16_t>> all;
  for (size_t i = 0; i < problem.experts.size(); ++i) {
    all.emplace_back(static_cast<size_t>(shape.bytes()) / 2);
    pack(problem.Source(i), all.back().data());
  }
  return all;
}

std::vector<ExpertView> Views(const GroupedProblem& problem,
                              const std::vector<std::vector<uint16_t>>& first,
                              const std::vector<std::vector<uint16_t>>& down) {
  std::vector<ExpertView> views(problem.experts.size());
  const auto map = [&](const std::vector<uint16_t>& packed, const PackedShape& shape,
                       CUtensorMap& encoded) {
    EmulateTensorMap({packed.data(), shape.lines(), kBlockRows}, encoded);
  };
  const auto bias = [](const auto& values) { return values.empty() ? nullptr : values.data(); };
  for (size_t i = 0; i < views.size(); ++i) {
    const GroupedProblem::Expert& expert = problem.experts[i];
    ExpertView& view = views[i];
    map(first[i], problem.shape.first(), view.first);
    map(down[i], problem.shape.down(), view.down);
    view.gate_bias = bias(expert.gate_bias);
    view.up_bias = bias(expert.up_bias);
    view.down_bias = bias(expert.down_bias);
    view.activation = problem.activation;
    view.limit = problem.limit;
  }
  return views;
}

std::vector<RowGroup> Groups(const GroupedProblem& problem) {
  std::vector<RowGroup> groups;
  int32_t first = 0;
  for (const int64_t rows : problem.rows_of_experts) {
    groups.push_back({static_cast<int32_t>(groups.size()), first, static_cast<int32_t>(rows)});
    first += static_cast<int32_t>(rows);
  }
  return groups;
}

ProductArgs Specialised(ProductArgs args, const PackedShape& weights, const ProductPlan& plan) {
  args.weights = weights;
  args.steps = static_cast<int32_t>(weights.steps());
  args.row_tiles = plan.row_tiles;
  args.shared = plan.shared;
  return args;
}

// Runs both products as if on `multiprocessors` and compares with exact sums.
void ExpectRight(const GroupedProblem& problem, DType output_type, int multiprocessors) {
  const PackedShape first = problem.shape.first(), down = problem.shape.down();
  const auto first_weights =
      PackAll(problem, first, [&](const ExpertSource& source, uint16_t* packed) {
        PackBlocks(first, source.gate, source.up, 0, first.blocks(), packed);
      });
  const auto down_weights =
      PackAll(problem, down, [&](const ExpertSource& source, uint16_t* packed) {
        PackBlocks(down, source.down, {}, 0, down.blocks(), packed);
      });
  const std::vector<ExpertView> views = Views(problem, first_weights, down_weights);
  const std::vector<RowGroup> groups = Groups(problem);
  const int64_t hidden = problem.shape.hidden;
  const int64_t stride = RowStride(problem.shape.intermediate);
  // What nothing writes is a NaN: it must not come into any sum.
  DeviceVector<uint16_t> h(static_cast<size_t>(problem.rows * stride), 0x7fc0);
  DeviceVector<float> outputs(static_cast<size_t>(problem.rows * hidden), NAN);
  const DeviceVector<uint16_t> inputs(problem.inputs.begin(), problem.inputs.end());
  std::vector<ExpertRow> rows;
  for (int64_t i = 0; i < problem.rows; ++i) {
    rows.push_back({&inputs[static_cast<size_t>(i * hidden)],
                    &outputs[static_cast<size_t>((problem.rows - 1 - i) * hidden)],
                    problem.gate_weights[static_cast<size_t>(i)]});
  }
  const ProductArgs args{.experts = views.data(),
                         .groups = groups.data(),
                         .group_count = static_cast<int32_t>(groups.size()),
                         .rows = rows.data(),
                         .h = h.data(),
                         .h_stride = stride,
                         .output_type = output_type};
  const ProductPlan first_plan = PlanProduct(first, groups, multiprocessors);
  const ProductArgs first_args = Specialised(args, first, first_plan);
  RunProduct<Product::kFirst>(first_args, first_plan);
  const ProductPlan down_plan = PlanProduct(down, groups, multiprocessors);
  const ProductArgs down_args = Specialised(args, down, down_plan);
  RunProduct<Product::kDown>(down_args, down_plan);
  testing::ExpectWithinBounds(problem, h.data(), output_type, [&](int64_t row, int64_t i) {
    const void* const output = rows[static_cast<size_t>(row)].output;
    return output_type == DType::kFloat32 ? static_cast<const float*>(output)[i]
                                          : Bf16ToFloat(static_cast<const uint16_t*>(output)[i]);
  });
}

constexpr int kFew = 2, kMany = 1000;  // multiprocessors: two warpgroups, one

TEST(GroupedGemmModelTest, EveryTokenWidth) {
  const ExpertShape shape{.hidden = 72, .intermediate = 100, .gated = true};
  for (const int64_t rows : {1, 8, 9, 17, 40, 65, 128, 131}) {
    SCOPED_TRACE(rows);
    for (const int multiprocessors : {kFew, kMany}) {
      ExpectRight({shape, Activation::kSilu, false, {rows}}, DType::kBfloat16, multiprocessors);
    }
  }
}

TEST(GroupedGemmModelTest, ManyExpertsAndSteps) {
  const ExpertShape shape{.hidden = 328, .intermediate = 401, .gated = true};
  for (const int multiprocessors : {kFew, kMany}) {
    ExpectRight({shape, Activation::kSilu, true, {3, 0, 10, 1}}, DType::kFloat32, multiprocessors);
  }
}

// The widest tiles leave the fewest stages, which then go round several times.
TEST(GroupedGemmModelTest, WideTilesGoRoundTheFewestStages) {
  const ExpertShape shape{.hidden = 328, .intermediate = 401, .gated = true};
  ExpectRight({shape, Activation::kSilu, false, {131}}, DType::kBfloat16, kFew);
}

TEST(GroupedGemmModelTest, EveryKindOfNetwork) {
  for (const Activation activation : {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh,
                                      Activation::kRelu, Activation::kClampedSwiGlu}) {
    for (const bool gated : {true, false}) {
      if (!gated && activation == Activation::kClampedSwiGlu) continue;
      for (const bool biased : {false, true}) {
        SCOPED_TRACE(::testing::Message() << static_cast<int>(activation) << gated << biased);
        const ExpertShape shape{.hidden = 40, .intermediate = 139, .gated = gated};
        ExpectRight({shape, activation, biased, {3, 2}}, DType::kBfloat16, kFew);
      }
    }
  }
}

// The bound is narrow enough to see most single products, were they missing.
TEST(GroupedGemmModelTest, TheBoundSeesMissingProducts) {
  const GroupedProblem problem({.hidden = 768, .intermediate = 8, .gated = false},
                               Activation::kRelu, false, {1});
  const uint16_t* const x = problem.inputs.data();
  const uint16_t* const w = problem.experts[0].gate.data();
  const testing::Bounded sum = testing::ExactSum(w, x, 768, nullptr);
  int seen = 0;
  for (int k = 0; k < 768; ++k) seen += std::abs(Bf16ToFloat(w[k]) * Bf16ToFloat(x[k])) > sum.bound;
  EXPECT_GT(seen, 600);
}

}  // namespace
}  // namespace switchyard::kernels::grouped
