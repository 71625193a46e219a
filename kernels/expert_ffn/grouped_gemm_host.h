#pragma once

// The products of the grouped GEMM for the CPU's launcher, in place of tensor cores: the same
// operands from the same places, one output a thread. Its sums are in an order of their own, so it
// is no class bf16-sm90: it has no speed and no host offers it. Tests of what is around the
// products use it, within the class's bounds.

#include <cstring>

#include "kernels/expert_ffn/grouped_gemm_epilogue.h"
#include "kernels/expert_ffn/grouped_gemm_plan.h"

namespace switchyard::kernels::grouped {

// A WeightMap of the CPU.
struct HostMap {
  const uint16_t* first;
  int64_t lines;

  WeightMap Encode() const {
    WeightMap encoded{};
    std::memcpy(&encoded, this, sizeof(*this));
    return encoded;
  }
  static HostMap Decode(const WeightMap& encoded) {
    HostMap map;
    std::memcpy(&map, &encoded, sizeof(map));
    return map;
  }
};

// Each 16 products in a chain of their own, as an instruction's; the chains ascending.
inline float HostSum(const WeightMap& map, const ProductShape& shape, int64_t feature,
                     const uint16_t* x) {
  const TileLayout layout{.n = shape.features, .k = shape.k};
  const uint16_t* const w = HostMap::Decode(map).first;
  float sum = 0;
  for (int64_t first = 0; first < shape.k; first += kInstructionDepth) {
    float chain = 0;
    for (int64_t k = first; k < shape.k && k < first + kInstructionDepth; ++k) {
      chain += Bf16ToFloat(w[layout.ElementAt(feature, k)]) * Bf16ToFloat(x[k]);
    }
    sum += chain;
  }
  return sum;
}

template <Product product>
struct HostProductKernel {
  static constexpr int kThreads = 32;
  struct Shared {};
  ProductArgs args;

  // A block the features of one row.
  int64_t Phases(int64_t) const { return 1; }
  void Run(int64_t, int64_t row, int thread, Shared&) const {
    const RowGroup* group = args.groups;
    while (row >= group->first_row + group->rows) ++group;
    const ExpertView& expert = args.experts[group->expert];
    for (int64_t f = thread; f < args.weights.features; f += kThreads) {
      if constexpr (product == Product::kFirst) {
        StoreFirst(expert, row, f);
      } else {
        StoreDown(expert, row, f);
      }
    }
  }

 private:
  static float Bias(const float* bias, int64_t f) { return bias == nullptr ? 0.0f : bias[f]; }

  void StoreFirst(const ExpertView& expert, int64_t row, int64_t f) const {
    const auto* const x = static_cast<const uint16_t*>(args.rows[row].input);
    const float gate = HostSum(expert.gate, args.weights, f, x) + Bias(expert.gate_bias, f);
    float h;
    if (args.weights.paired) {
      const float up = HostSum(expert.up, args.weights, f, x) + Bias(expert.up_bias, f);
      h = simt::ApplyGated(expert.activation, expert.limit, gate, up);
    } else {
      h = simt::ApplyActivation(expert.activation, gate);
    }
    args.h[row * args.h_stride + f] = FloatToBf16(h);
  }

  void StoreDown(const ExpertView& expert, int64_t row, int64_t f) const {
    const uint16_t* const x = args.x + row * args.x_stride;
    const float y = HostSum(expert.down, args.weights, f, x) + Bias(expert.down_bias, f);
    if (args.rows == nullptr) {
      args.y[row * args.y_stride + f] = y;
    } else {
      const ExpertRowView& to = args.rows[row];
      simt::StoreElement(to.gate_weight * y, to.output, args.output_type, f);
    }
  }
};

class HostProducts {
 public:
  int multiprocessors() const { return 1; }

  template <typename Launch>
  WeightMap Map(const void* first, int64_t lines, Launch&) {
    return HostMap{.first = static_cast<const uint16_t*>(first), .lines = lines}.Encode();
  }

  template <typename Launch>
  void Run(Product product, const ProductPlan&, const ProductArgs& args, Launch& launch) {
    const int64_t rows = CountRows(args);
    if (product == Product::kFirst) {
      launch(HostProductKernel<Product::kFirst>{args}, rows);
    } else {
      launch(HostProductKernel<Product::kDown>{args}, rows);
    }
  }

 private:
  static int64_t CountRows(const ProductArgs& args) {
    const RowGroup& last = args.groups[args.group_count - 1];
    return last.first_row + last.rows;
  }
};

}  // namespace switchyard::kernels::grouped
