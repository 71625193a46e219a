// The grouped GEMM on the host: the kernel's own roles, packing, schedule, pipeline and epilogue,
// each thread of the device a thread here, over emulated copies, barriers and matrix instructions.
// What is left to a device is those instructions themselves.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <thread>
#include <vector>

#include "kernels/base/bf16.h"
#include "kernels/base/memory.h"
#include "kernels/base/thread_pool.h"
#include "kernels/expert_ffn/grouped_gemm.h"
#include "kernels/expert_ffn/grouped_gemm_emulation.h"
#include "kernels/expert_ffn/grouped_gemm_host.h"
#include "kernels/expert_ffn/grouped_gemm_roles.h"
#include "kernels/expert_ffn/grouped_gemm_test_case.h"
#include "kernels/simt/host_launch.h"

namespace switchyard::kernels::grouped {
namespace {

using testing::ExpertShape;
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

// Products as GroupedGemm asks for them, on the emulated device.
class EmulatedProducts {
 public:
  explicit EmulatedProducts(int multiprocessors) : multiprocessors_(multiprocessors) {}

  int multiprocessors() const { return multiprocessors_; }

  WeightMap Map(const void* first, int64_t lines, HostLaunch&) const {
    return HostMap{.first = static_cast<const uint16_t*>(first), .lines = lines}.Encode();
  }

  void Run(Product product, const ProductPlan& plan, const ProductArgs& args,
           HostLaunch& launch) const {
    launch.Wait();  // for what comes before
    CheckPairs(product, args);
    if (plan.tiles == 0) return;
    if (product == Product::kFirst) {
      RunProduct<Product::kFirst>(args, plan);
    } else {
      RunProduct<Product::kDown>(args, plan);
    }
  }

 private:
  // A GPU faults where a pair is not aligned; the CPU does not.
  static void CheckPairs(Product product, const ProductArgs& args) {
    if (product == Product::kFirst || !args.stores_pairs) return;
    const uintptr_t pair = 2 * SizeOf(args.output_type);
    const RowGroup& last = args.groups[args.group_count - 1];
    for (int64_t row = 0; row < last.first_row + last.rows; ++row) {
      const void* const to =
          args.rows == nullptr ? args.y + row * args.y_stride : args.rows[row].output;
      ASSERT_TRUE(Aligned(to, pair) && args.weights.features % 2 == 0) << "row " << row;
    }
  }

  int multiprocessors_;
};

// Runs both products as if on `multiprocessors` and compares with exact sums.
void ExpectRight(const GroupedProblem& problem, DType output_type, int multiprocessors) {
  const std::vector<ExpertWeights> weights = problem.AllWeights(NumericsClass::kBf16Sm90);
  const auto hidden = static_cast<size_t>(problem.shape.hidden);
  const auto count = static_cast<size_t>(problem.rows);
  // What nothing writes is a NaN: it must not come into any sum.
  ExpertWorkspace workspace;
  const size_t h_elements = count * static_cast<size_t>(RowStride(problem.shape.intermediate));
  workspace.activations.Reserve(2 * h_elements);
  std::fill_n(workspace.activations.As<uint16_t>(), h_elements, uint16_t{0x7fc0});
  DeviceVector<float> outputs(count * hidden, NAN);
  const DeviceVector<uint16_t> inputs(problem.inputs.begin(), problem.inputs.end());
  std::vector<ExpertRow> rows;
  for (size_t i = 0; i < count; ++i) {
    rows.push_back(
        {&inputs[i * hidden], &outputs[(count - 1 - i) * hidden], problem.gate_weights[i]});
  }
  std::vector<ExpertGroup> groups;
  int64_t first = 0;
  for (size_t e = 0; e < weights.size(); ++e) {
    groups.push_back({&weights[e], first, first + problem.rows_of_experts[e]});
    first = groups.back().end;
  }
  ThreadPool pool(1);
  HostLaunch launch(pool);
  GroupedGemm<EmulatedProducts> gemm{EmulatedProducts(multiprocessors)};
  gemm.ExpertFfn({.rows = rows, .groups = groups, .output_type = output_type}, workspace, launch);
  ASSERT_TRUE(launch.Finish().ok());
  testing::ExpectWithinBounds(problem, workspace.activations.As<uint16_t>(), output_type,
                              [&](int64_t row, int64_t i) {
                                const void* const output = rows[static_cast<size_t>(row)].output;
                                return output_type == DType::kFloat32
                                           ? static_cast<const float*>(output)[i]
                                           : Bf16ToFloat(static_cast<const uint16_t*>(output)[i]);
                              });
}

constexpr int kFew = 2, kMany = 1000;  // multiprocessors: two warpgroups, one

TEST(GroupedGemmModelTest, EveryTokenWidth) {
  const ExpertShape shape{.hidden = 72, .intermediate = 100, .gated = true};
  for (const int64_t rows : {1, 9, 17, 40, 128, 131}) {
    SCOPED_TRACE(rows);
    const int multiprocessors = rows == 9 || rows == 128 ? kMany : kFew;
    ExpectRight({shape, Activation::kSilu, false, {rows}}, DType::kBfloat16, multiprocessors);
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
  bool biased = false;
  for (const bool gated : {true, false}) {
    for (const Activation activation : {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh,
                                        Activation::kRelu, Activation::kClampedSwiGlu}) {
      if (!gated && activation == Activation::kClampedSwiGlu) continue;
      biased = !biased;
      SCOPED_TRACE(::testing::Message() << static_cast<int>(activation) << gated << biased);
      const ExpertShape shape{.hidden = 40, .intermediate = 139, .gated = gated};
      ExpectRight({shape, activation, biased, {3, 2}}, DType::kBfloat16, kFew);
    }
  }
}

// Outputs that cannot be stored in pairs, and rows that must be moved before they can be copied.
TEST(GroupedGemmModelTest, OddSizes) {
  for (const DType type : {DType::kFloat32, DType::kBfloat16}) {
    ExpectRight({{.hidden = 73, .intermediate = 9, .gated = true}, Activation::kSilu, true, {3}},
                type, kFew);
  }
}

void ExpectMatmulRight(int64_t n, int64_t y_stride) {
  constexpr int64_t kM = 9, kK = 70;
  const GroupedProblem problem({.hidden = kK, .intermediate = n, .gated = false}, Activation::kRelu,
                               false, {kM});
  const ExpertWeights weights = problem.Weights(0, NumericsClass::kBf16Sm90);
  DeviceVector<float> y(static_cast<size_t>(kM * y_stride));
  ThreadPool pool(1);
  HostLaunch launch(pool);
  GroupedGemm<EmulatedProducts> gemm{EmulatedProducts(kFew)};
  gemm.Matmul({.x = problem.inputs.data(),
               .x_stride = kK,
               .m = kM,
               .w = &weights.gate,
               .y = y.data(),
               .y_stride = y_stride},
              launch);
  for (int64_t i = 0; i < kM * n; ++i) {
    const testing::Bounded expected =
        testing::ExactSum(problem.experts[0].gate.data() + i % n * kK,
                          problem.inputs.data() + i / n * kK, kK, nullptr);
    const float found = y[static_cast<size_t>(i / n * y_stride + i % n)];
    ASSERT_TRUE(testing::Within(found, expected)) << i;
  }
}

TEST(GroupedGemmModelTest, Matmul) {
  ExpectMatmulRight(131, 131);
  ExpectMatmulRight(132, 132);
  ExpectMatmulRight(132, 133);  // every other row starts at an odd place
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
