#pragma once

// Matmuls and the expert FFN in class bf16-sm90: products on Hopper's tensor cores, over all
// experts of a batch at once. bf16 operands, fp32 sums; the order of a sum inside an instruction is
// the hardware's, across instructions it is ascending in k, whatever the batch. docs/gpu.md.
//
// `Products` runs one of them: on a GPU grouped_gemm_cuda.h, on the CPU, for tests, in other
// arithmetic, grouped_gemm_host.h. It offers
//
//   int multiprocessors() const;
//   // Of the tiles (tile_layout.h) at `first`; the memory may be used anew for others.
//   WeightMap Map(const void* first, int64_t lines, Launch& launch);
//   void Run(Product product, const ProductPlan& plan, const ProductArgs& args, Launch& launch);

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "kernels/expert_ffn/expert_staging.h"
#include "kernels/expert_ffn/grouped_gemm_plan.h"
#include "kernels/expert_ffn/grouped_gemm_product.h"
#include "kernels/matmul/matmul.h"

namespace switchyard::kernels::grouped {

// Copies of 16 bytes must start at multiples of it.
inline constexpr uintptr_t kAlignment = 16;

inline bool Aligned(const void* data, uintptr_t to) {
  return reinterpret_cast<uintptr_t>(data) % to == 0;
}

// Rows of k elements, of `rows` or else of x, to where copies can start.
struct AlignRowsKernel {
  static constexpr int kThreads = 128;
  struct Shared {};
  const ExpertRowView* rows;
  const uint16_t* x;
  int64_t x_stride;
  int64_t k;
  uint16_t* to;

  SWITCHYARD_SIMT int64_t Phases(int64_t) const { return 1; }

  SWITCHYARD_SIMT void Run(int64_t, int64_t block, int thread, Shared&) const {
    const auto* const from =
        rows == nullptr ? x + block * x_stride : static_cast<const uint16_t*>(rows[block].input);
    for (int64_t i = thread; i < k; i += kThreads) to[block * RowStride(k) + i] = from[i];
  }
};

// A matmul's only expert and group, in one copy.
struct MatmulView {
  ExpertView expert;
  RowGroup group;
};

// The two products of an expert FFN, ready to run any number of times until Finish.
struct PreparedExperts {
  ProductArgs first, down;
  ProductPlan first_plan, down_plan;
};

// Used by one thread at a time.
template <typename Products>
class GroupedGemm {
 public:
  explicit GroupedGemm(Products products) : products_(std::move(products)) {}

  template <typename Launch>
  void Matmul(const MatmulArgs& args, Launch& launch);

  template <typename Launch>
  void ExpertFfn(const ExpertBatch& batch, ExpertWorkspace& workspace, Launch& launch) {
    WithReachableRows(batch, staging_, launch, [&] {
      const PreparedExperts prepared = Prepare(batch, staging_, workspace, launch);
      Run(prepared, launch);
    });
  }

  // `staging` describes rows that the device reaches; at least one.
  template <typename Launch>
  PreparedExperts Prepare(const ExpertBatch& batch, ExpertStaging& staging,
                          ExpertWorkspace& workspace, Launch& launch);
  template <typename Launch>
  void Run(const PreparedExperts& prepared, Launch& launch) {
    products_.Run(Product::kFirst, prepared.first_plan, prepared.first, launch);
    products_.Run(Product::kDown, prepared.down_plan, prepared.down, launch);
  }

 private:
  template <typename Launch>
  WeightMap Map(const PackedMatrix& w, Launch& launch) {
    return w.n() == 0 ? WeightMap() : products_.Map(w.data(), w.tiles().lines(), launch);
  }

  template <typename Launch>
  void DescribeExperts(const ExpertBatch& batch, Launch& launch);

  template <typename Launch>
  static void AlignInputs(std::vector<ExpertRowView>& rows, int64_t k, Launch& launch);

  // Completes `args` for one product.
  ProductPlan Plan(const ProductShape& weights, ProductArgs& args) const {
    const ProductPlan plan = PlanProduct(weights, groups_, products_.multiprocessors());
    args.weights = weights;
    args.steps = static_cast<int32_t>(weights.steps());
    args.row_tiles = plan.row_tiles;
    args.shared = plan.shared;
    return plan;
  }

  Products products_;
  // Kept, so that they allocate only while they grow.
  ExpertStaging staging_;
  std::vector<ExpertView> experts_;
  std::vector<RowGroup> groups_;
};

template <typename Products>
template <typename Launch>
void GroupedGemm<Products>::DescribeExperts(const ExpertBatch& batch, Launch& launch) {
  const auto bias = [](const Floats& values) { return values.empty() ? nullptr : values.data(); };
  experts_.clear();
  groups_.clear();
  int32_t first = 0;
  for (const ExpertGroup& group : batch.groups) {
    const ExpertWeights& weights = *group.weights;
    const auto rows = static_cast<int32_t>(group.end - group.begin);
    groups_.push_back({static_cast<int32_t>(experts_.size()), first, rows});
    first += rows;
    experts_.push_back({.gate = Map(weights.gate, launch),
                        .up = Map(weights.up, launch),
                        .down = Map(weights.down, launch),
                        .gate_bias = bias(weights.gate_bias),
                        .up_bias = bias(weights.up_bias),
                        .down_bias = bias(weights.down_bias),
                        .activation = weights.activation,
                        .limit = weights.limit});
  }
}

template <typename Products>
template <typename Launch>
void GroupedGemm<Products>::AlignInputs(std::vector<ExpertRowView>& rows, int64_t k,
                                        Launch& launch) {
  const bool aligned = std::all_of(rows.begin(), rows.end(), [](const ExpertRowView& row) {
    return Aligned(row.input, kAlignment);
  });
  if (aligned) return;
  const AlignRowsKernel kernel{
      .rows = launch.Stage(std::span<const ExpertRowView>(rows)),
      .k = k,
      .to = launch.template Scratch<uint16_t>(std::ssize(rows) * RowStride(k))};
  launch(kernel, std::ssize(rows));
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].input = kernel.to + static_cast<int64_t>(i) * RowStride(k);
  }
}

template <typename Products>
template <typename Launch>
PreparedExperts GroupedGemm<Products>::Prepare(const ExpertBatch& batch, ExpertStaging& staging,
                                               ExpertWorkspace& workspace, Launch& launch) {
  const ExpertWeights& weights = *batch.groups[0].weights;
  const int64_t hidden = weights.gate.k(), intermediate = weights.gate.n();
  const int64_t stride = RowStride(intermediate);
  ReserveActivations(workspace, staging.rows.size() * static_cast<size_t>(stride) * 2, launch);
  AlignInputs(staging.rows, hidden, launch);
  DescribeExperts(batch, launch);
  const uintptr_t pair = 2 * SizeOf(batch.output_type);
  const bool aligned =
      std::all_of(staging.rows.begin(), staging.rows.end(),
                  [&](const ExpertRowView& row) { return Aligned(row.output, pair); });
  auto* const h = workspace.activations.As<uint16_t>();
  PreparedExperts prepared{};
  prepared.first = ProductArgs{.experts = launch.Stage(std::span<const ExpertView>(experts_)),
                               .groups = launch.Stage(std::span<const RowGroup>(groups_)),
                               .group_count = static_cast<int32_t>(groups_.size()),
                               .rows = launch.Stage(std::span<const ExpertRowView>(staging.rows)),
                               .h = h,
                               .h_stride = stride,
                               .x = h,
                               .x_stride = stride,
                               .output_type = batch.output_type,
                               .stores_pairs = aligned && hidden % 2 == 0};
  prepared.down = prepared.first;
  prepared.first_plan = Plan({intermediate, hidden, weights.gated()}, prepared.first);
  prepared.down_plan = Plan({hidden, intermediate, false}, prepared.down);
  return prepared;
}

template <typename Products>
template <typename Launch>
void GroupedGemm<Products>::Matmul(const MatmulArgs& args, Launch& launch) {
  if (args.m == 0) return;
  const PackedMatrix& w = *args.w;
  const auto* x = static_cast<const uint16_t*>(args.x);
  int64_t x_stride = args.x_stride;
  if (!Aligned(x, kAlignment) || x_stride != RowStride(x_stride)) {
    const AlignRowsKernel kernel{
        .x = x,
        .x_stride = x_stride,
        .k = w.k(),
        .to = launch.template Scratch<uint16_t>(args.m * RowStride(w.k()))};
    launch(kernel, args.m);
    x = kernel.to;
    x_stride = RowStride(w.k());
  }
  groups_.assign(1, {.expert = 0, .first_row = 0, .rows = static_cast<int32_t>(args.m)});
  const MatmulView view = {.expert = {.down = Map(w, launch)}, .group = groups_[0]};
  const MatmulView* const staged = launch.Stage(std::span(&view, 1));
  if (staged == nullptr) return;  // the launcher has failed, and says so at Finish
  ProductArgs product{.experts = &staged->expert,
                      .groups = &staged->group,
                      .group_count = 1,
                      .x = x,
                      .x_stride = x_stride,
                      .y = args.y,
                      .y_stride = args.y_stride,
                      .output_type = DType::kFloat32,
                      .stores_pairs = Aligned(args.y, 2 * sizeof(float)) &&
                                      args.y_stride % 2 == 0 && w.n() % 2 == 0};
  const ProductPlan plan = Plan({w.n(), w.k(), false}, product);
  products_.Run(Product::kDown, plan, product, launch);
}

}  // namespace switchyard::kernels::grouped
