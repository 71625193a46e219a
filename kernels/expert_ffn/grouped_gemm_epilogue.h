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

// A thread's outputs of one token: feature, feature + 1 of each half of its block. With a pair of
// matrices half 0 is of W_gate and half 1 of W_up, else they follow one another.
struct ThreadSums {
  float of[2][2];
};

// What a thread needs to know of its tile.
struct ThreadTile {
  int64_t feature;  // its first
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
  const bool paired = args.weights.paired;
  ThreadTile view{
      .feature = block * args.weights.block_features() + FirstFeatureOfThread(paired, thread),
      .activation = expert.activation,
      .limit = expert.limit};
  const float* const first = product == Product::kFirst ? expert.gate_bias : expert.down_bias;
  LoadBias(first, view.feature, args.weights.features, view.bias[0]);
  LoadBias(paired ? expert.up_bias : first, paired ? view.feature : view.feature + 2,
           args.weights.features, view.bias[1]);
  return view;
}

// Two neighbours of h for a pair of matrices, four for one; features behind the last are written
// only as far as the row's padding, which nothing reads.
SWITCHYARD_SIMT void StoreHidden(const ProductArgs& args, const ThreadTile& view, int64_t row,
                                 const ThreadSums& sums) {
  if (view.feature >= args.h_stride) return;
  uint16_t* const to = args.h + row * args.h_stride + view.feature;
  if (args.weights.paired) {
    float h[2];
    for (int i = 0; i < 2; ++i) {
      h[i] = simt::ApplyGated(view.activation, view.limit, sums.of[0][i], sums.of[1][i]);
    }
    *reinterpret_cast<Neighbours<uint32_t, 1>*>(to) = {{PackPair(h[0], h[1])}};
  } else {
    uint32_t pairs[2];
    for (int half = 0; half < 2; ++half) {
      pairs[half] = PackPair(simt::ApplyActivation(view.activation, sums.of[half][0]),
                             simt::ApplyActivation(view.activation, sums.of[half][1]));
    }
    *reinterpret_cast<Neighbours<uint32_t, 2>*>(to) = {{pairs[0], pairs[1]}};
  }
}

// Four neighbouring outputs: the number of outputs is a multiple of 8.
SWITCHYARD_SIMT void StoreOutput(const ProductArgs& args, const ThreadTile& view,
                                 const ExpertRow& row, const ThreadSums& sums) {
  if (view.feature >= args.weights.features) return;
  const Neighbours<float, 4> y = {{row.gate_weight * sums.of[0][0], row.gate_weight * sums.of[0][1],
                                   row.gate_weight * sums.of[1][0],
                                   row.gate_weight * sums.of[1][1]}};
  if (args.output_type == DType::kFloat32) {
    float* const to = static_cast<float*>(row.output) + view.feature;
    *reinterpret_cast<Neighbours<float, 4>*>(to) = y;
  } else {
    uint16_t* const to = static_cast<uint16_t*>(row.output) + view.feature;
    *reinterpret_cast<Neighbours<uint32_t, 2>*>(to) = {
        {PackPair(y.of[0], y.of[1]), PackPair(y.of[2], y.of[3])}};
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
        StoreOutput(args, view, args.rows[row], token);
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
