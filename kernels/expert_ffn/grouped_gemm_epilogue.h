#pragma once

// What becomes of a tile's sums, from the registers where the instruction leaves them straight to
// memory; on the host too, for tests. Weight rows were packed so that a thread's sums of one token
// are neighbouring outputs (RowOfBlock).
//
// A thread with 128 columns would have hundreds of activations to inline. The loop over the columns
// is therefore one of few columns whose registers are always the first: the others move up behind
// it. That costs some moves and keeps the code where the instruction cache holds it.

#include "kernels/expert_ffn/grouped_gemm_product.h"
#include "kernels/simt/math.h"

#define SWITCHYARD_SIMD simt
#define SWITCHYARD_INLINE SWITCHYARD_SIMT
#include "kernels/expert_ffn/activation_math.h"
#undef SWITCHYARD_SIMD
#undef SWITCHYARD_INLINE

namespace switchyard::kernels::grouped {

// What a thread stores at once, whatever type the memory has.
template <typename T, int kCount>
struct [[gnu::may_alias]] alignas(sizeof(T) * kCount) Neighbours {
  T of[kCount];
};

// Two bf16 as a store takes them, the first one in the lower half.
SWITCHYARD_SIMT uint32_t PackPair(float first, float second) {
  return FloatToBf16(first) | static_cast<uint32_t>(FloatToBf16(second)) << 16;
}

// A thread's outputs of one token: two neighbours of each half of its block. With a pair of
// matrices half 0 is of W_gate and half 1 of W_up.
struct ThreadSums {
  float of[2][2];
};

// What a thread needs to know of its tile.
struct ThreadTile {
  int32_t feature;  // its first
  float bias[2][2];
  Activation activation;
  float limit;
};

SWITCHYARD_SIMT void LoadBias(const float* bias, int64_t feature, int64_t features,
                              float (&to)[2]) {
  for (int i = 0; i < 2; ++i) {
    to[i] = bias != nullptr && feature + i < features ? bias[feature + i] : 0.0f;
  }
}

template <Product product>
SWITCHYARD_SIMT ThreadTile DescribeTile(const ProductArgs& args, const Tile& tile, int64_t block,
                                        int thread) {
  const ExpertView& expert = args.experts[tile.expert];
  ThreadTile view{.activation = expert.activation, .limit = expert.limit};
  const float* const first = product == Product::kFirst ? expert.gate_bias : expert.down_bias;
  view.feature = static_cast<int32_t>(args.weights.row_tile(block, 0)) * kInstructionRows +
                 FirstFeatureOfThread(thread);
  const bool paired = args.weights.paired;
  LoadBias(first, view.feature, args.weights.features, view.bias[0]);
  LoadBias(paired ? expert.up_bias : first, paired ? view.feature : view.feature + kInstructionRows,
           args.weights.features, view.bias[1]);
  return view;
}

// Features behind the last are written only as far as the row's padding, which nothing reads.
SWITCHYARD_SIMT void StoreHidden(const ProductArgs& args, const ThreadTile& view, int64_t row,
                                 const ThreadSums& sums) {
  uint16_t* const h = args.h + row * args.h_stride;
  const auto store = [&](int64_t feature, float first, float second) {
    if (feature >= args.h_stride) return;
    *reinterpret_cast<Neighbours<uint32_t, 1>*>(h + feature) = {{PackPair(first, second)}};
  };
  if (args.weights.paired) {
    store(view.feature, simt::ApplyGated(view.activation, view.limit, sums.of[0][0], sums.of[1][0]),
          simt::ApplyGated(view.activation, view.limit, sums.of[0][1], sums.of[1][1]));
    return;
  }
  for (int half = 0; half < 2; ++half) {
    store(view.feature + half * kInstructionRows,
          simt::ApplyActivation(view.activation, sums.of[half][0]),
          simt::ApplyActivation(view.activation, sums.of[half][1]));
  }
}

// Two neighbours of a row's outputs, or what there is of them.
SWITCHYARD_SIMT void StoreNeighbours(const ProductArgs& args, void* output, int64_t feature,
                                     float first, float second) {
  const int64_t left = args.weights.features - feature;
  if (left <= 0) return;
  if (args.output_type == DType::kFloat32) {
    float* const to = static_cast<float*>(output) + feature;
    if (args.stores_pairs) {
      *reinterpret_cast<Neighbours<float, 2>*>(to) = {{first, second}};
      return;
    }
    to[0] = first;
    if (left > 1) to[1] = second;
  } else {
    uint16_t* const to = static_cast<uint16_t*>(output) + feature;
    if (args.stores_pairs) {
      *reinterpret_cast<Neighbours<uint32_t, 1>*>(to) = {{PackPair(first, second)}};
      return;
    }
    to[0] = FloatToBf16(first);
    if (left > 1) to[1] = FloatToBf16(second);
  }
}

SWITCHYARD_SIMT void StoreOutput(const ProductArgs& args, const ThreadTile& view, int64_t row,
                                 const ThreadSums& sums) {
  const bool matmul = args.rows == nullptr;
  void* const output = matmul ? args.y + row * args.y_stride : args.rows[row].output;
  const float weight = matmul ? 1.0f : args.rows[row].gate_weight;
  for (int half = 0; half < 2; ++half) {
    StoreNeighbours(args, output, view.feature + half * kInstructionRows, weight * sums.of[half][0],
                    weight * sums.of[half][1]);
  }
}

template <Product product, int kColumns>
SWITCHYARD_SIMT void StoreTile(const ProductArgs& args, const Tile& tile, int64_t block, int thread,
                               float (&sums)[2][kColumns / 2]) {
  constexpr int kGroups = kColumns >= 16 ? 2 : 1;  // of eight columns, four registers each
  const ThreadTile view = DescribeTile<product>(args, tile, block, thread);
  SWITCHYARD_NO_UNROLL
  for (int first = 0; first < tile.tokens; first += 8 * kGroups) {
    SWITCHYARD_UNROLL
    for (int i = 0; i < 2 * kGroups; ++i) {
      const int group = i / 2, c = i % 2;
      const int column = first + FragmentColumn(thread % 32, group, c);
      if (column >= tile.tokens) continue;
      ThreadSums token;
      SWITCHYARD_UNROLL
      for (int half = 0; half < 2; ++half) {
        for (int upper = 0; upper < 2; ++upper) {
          token.of[half][upper] = sums[half][4 * group + 2 * upper + c] + view.bias[half][upper];
        }
      }
      const int64_t row = tile.first_row + column;
      if constexpr (product == Product::kFirst) {
        StoreHidden(args, view, row, token);
      } else {
        StoreOutput(args, view, row, token);
      }
    }
    SWITCHYARD_UNROLL
    for (int half = 0; half < 2; ++half) {
      SWITCHYARD_UNROLL
      for (int i = 0; i + 4 * kGroups < kColumns / 2; ++i) {
        sums[half][i] = sums[half][i + 4 * kGroups];
      }
    }
  }
}

}  // namespace switchyard::kernels::grouped
