// The grouped GEMM on the host: its packing, schedule, layout and epilogue are the kernel's own;
// the copies and the matrix instruction are models of what the PTX ISA says. What is left to a
// device is the instructions themselves, the barriers and the roles of warps.

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "kernels/expert_ffn/grouped_gemm_descriptor_model.h"
#include "kernels/expert_ffn/grouped_gemm_epilogue.h"
#include "kernels/expert_ffn/grouped_gemm_plan.h"
#include "kernels/expert_ffn/grouped_gemm_test_case.h"

namespace switchyard::kernels::grouped {
namespace {

using testing::GroupedProblem;

constexpr int kThreads = 128;  // of a warpgroup

// One product, all blocks of threads one after the other.
template <Product product>
class ModelOfProduct {
 public:
  // `packed`: the weights of each expert.
  ModelOfProduct(const ProductArgs& args, const std::vector<std::vector<uint16_t>>& packed)
      : args_(args), packed_(packed), memory_(args.shared.bytes()) {}

  void Run(int32_t grid) {
    for (int32_t block = 0; block < grid; ++block) {
      TileCursor cursor(args_.groups, args_.group_count, args_.row_tiles);
      Tile tile;
      for (int64_t i = block; cursor.Seek(i, &tile); i += grid) {
        for (int warpgroup = 0; warpgroup < args_.shared.warpgroups; ++warpgroup) {
          switch (TokenWidth(tile.tokens)) {
            case 8:
              RunTile<8>(tile, warpgroup);
              break;
            case 16:
              RunTile<16>(tile, warpgroup);
              break;
            case 32:
              RunTile<32>(tile, warpgroup);
              break;
            case 64:
              RunTile<64>(tile, warpgroup);
              break;
            default:
              RunTile<128>(tile, warpgroup);
              break;
          }
        }
      }
    }
  }

 private:
  template <int kColumns>
  void RunTile(const Tile& tile, int warpgroup) {
    struct Sums {
      float of[2][kColumns / 2];
    };
    std::vector<Sums> threads(kThreads, Sums{});
    const int64_t block = int64_t{tile.row_tile} * args_.shared.warpgroups + warpgroup;
    for (int step = 0; step < args_.steps; ++step) {
      const int stage = step % args_.shared.stages;
      CopyWeights(tile.expert, args_.weights.line(block, step),
                  args_.shared.weights(stage, warpgroup));
      GatherTokens(tile, step, args_.shared.tokens(stage));
      const uint64_t weights = OperandDescriptor(args_.shared.weights(stage, warpgroup));
      const uint64_t tokens = OperandDescriptor(args_.shared.tokens(stage));
      for (uint64_t k = 0; k < kStepDepth / kInstructionDepth; ++k) {
        for (uint64_t half = 0; half < 2; ++half) {
          for (int thread = 0; thread < kThreads; ++thread) {
            AddProduct<kColumns>(weights + half * kDescriptorHalf + k * kDescriptorStep,
                                 tokens + k * kDescriptorStep, thread,
                                 threads[static_cast<size_t>(thread)].of[half]);
          }
        }
      }
    }
    for (int thread = 0; thread < kThreads; ++thread) {
      StoreTile<product, kColumns>(args_, tile, block, thread,
                                   threads[static_cast<size_t>(thread)].of);
    }
  }

  // TMA: a box of lines, swizzled; lines behind the last are zero.
  void CopyWeights(int expert, int64_t first, uint32_t to) {
    for (uint32_t line = 0; line < kBlockRows; ++line) {
      for (uint32_t chunk = 0; chunk < 8; ++chunk) {
        unsigned char* const chunk_to = &memory_[to + Swizzle(line * kLineBytes + 16 * chunk)];
        std::memset(chunk_to, 0, 16);
        if (first + line >= args_.weights.lines()) continue;
        const auto& packed = packed_[static_cast<size_t>(expert)];
        std::memcpy(chunk_to, &packed[static_cast<size_t>(first + line) * kStepDepth + 8 * chunk],
                    16);
      }
    }
  }

  void GatherTokens(const Tile& tile, int step, uint32_t to) {
    for (int token = 0; token < TokenWidth(tile.tokens); ++token) {
      const int64_t row = tile.first_row + token;
      for (uint32_t chunk = 0; chunk < 8; ++chunk) {
        unsigned char* const chunk_to =
            &memory_[to + Swizzle(static_cast<uint32_t>(token) * kLineBytes + 16 * chunk)];
        std::memset(chunk_to, 0, 16);
        if (token >= tile.tokens) continue;
        const void* const source = product == Product::kFirst
                                       ? args_.rows[row].input
                                       : static_cast<const void*>(args_.h + row * args_.h_stride);
        std::memcpy(chunk_to,
                    static_cast<const char*>(source) + int64_t{step} * kLineBytes + 16 * chunk,
                    ChunkBytes(args_.weights.k, step, chunk));
      }
    }
  }

  float Element(uint64_t descriptor, int row, uint32_t k) const {
    uint16_t element;
    std::memcpy(&element, &memory_[testing::AddressRead(descriptor, static_cast<uint32_t>(row), k)],
                sizeof(element));
    return Bf16ToFloat(element);
  }

  // A thread's part of the instruction (PTX ISA, "Register fragments for wgmma, matrix D").
  template <int kColumns>
  void AddProduct(uint64_t left, uint64_t right, int thread, float (&sums)[kColumns / 2]) const {
    for (int i = 0; i < kColumns / 2; ++i) {
      const int row = 16 * (thread / 32) + 8 * (i / 2 % 2) + thread % 32 / 4;
      const int column = 8 * (i / 4) + 2 * (thread % 4) + i % 2;
      for (uint32_t k = 0; k < kInstructionDepth; ++k) {
        sums[i] += Element(left, row, k) * Element(right, column, k);
      }
    }
  }

  const ProductArgs& args_;
  const std::vector<std::vector<uint16_t>>& packed_;
  std::vector<unsigned char> memory_;
};

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

std::vector<ExpertView> Views(const GroupedProblem& problem) {
  std::vector<ExpertView> views;
  const auto bias = [](const auto& values) { return values.empty() ? nullptr : values.data(); };
  for (const GroupedProblem::Expert& expert : problem.experts) {
    views.push_back({.gate_bias = bias(expert.gate_bias),
                     .up_bias = bias(expert.up_bias),
                     .down_bias = bias(expert.down_bias),
                     .activation = problem.activation,
                     .limit = problem.limit});
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
  const std::vector<ExpertView> views = Views(problem);
  const std::vector<RowGroup> groups = Groups(problem);
  const int64_t hidden = problem.shape.hidden;
  const int64_t stride = RowStride(problem.shape.intermediate);
  // What nothing writes is a NaN: it must not come into any sum.
  DeviceVector<uint16_t> h(static_cast<size_t>(problem.rows * stride), 0x7fc0);
  DeviceVector<float> outputs(static_cast<size_t>(problem.rows * hidden), NAN);
  std::vector<ExpertRow> rows;
  for (int64_t i = 0; i < problem.rows; ++i) {
    rows.push_back({&problem.inputs[static_cast<size_t>(i * hidden)],
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
  ModelOfProduct<Product::kFirst>(first_args, first_weights).Run(first_plan.grid);
  const ProductPlan down_plan = PlanProduct(down, groups, multiprocessors);
  const ProductArgs down_args = Specialised(args, down, down_plan);
  ModelOfProduct<Product::kDown>(down_args, down_weights).Run(down_plan.grid);
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
