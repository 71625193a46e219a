#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/attention/kv_page.h"
#include "kernels/base/bf16.h"
#include "kernels/base/lane_sum.h"
#include "kernels/base/math.h"

namespace switchyard::kernels {
namespace {

constexpr int64_t kPage = KvLayout::kPagePositions;
constexpr int64_t kBlock = KvLayout::kBlockPositions;

float Element(const AttentionArgs& args, int64_t offset) {
  return args.layout.type == DType::kFloat32
             ? static_cast<const float*>(args.cache)[offset]
             : Bf16ToFloat(static_cast<const uint16_t*>(args.cache)[offset]);
}

float Key(const AttentionArgs& args, const AttentionSequence& sequence, int64_t head,
          int64_t position, int64_t d) {
  return Element(args, KeyOffset(args.layout, sequence.pages[position / kPage], head) + d * kPage +
                           position % kPage);
}

float Value(const AttentionArgs& args, const AttentionSequence& sequence, int64_t head,
            int64_t position, int64_t d) {
  return Element(args, ValueOffset(args.layout, sequence.pages[position / kPage], head) +
                           position % kPage * args.layout.head_dim + d);
}

struct State {
  float max;
  float sum;
  std::vector<float> value;
};

// Positions [first, last] of one block.
State AttendBlock(const AttentionArgs& args, const AttentionSequence& sequence, int64_t kv_head,
                  const float* q, int64_t first, int64_t last) {
  const int64_t head_dim = args.layout.head_dim;
  State block{-std::numeric_limits<float>::infinity(), 0, std::vector<float>(head_dim, 0.0f)};
  std::vector<float> score;
  for (int64_t j = first; j <= last; ++j) {
    float dot = 0;
    for (int64_t d = 0; d < head_dim; ++d) {
      dot = std::fma(q[d], Key(args, sequence, kv_head, j, d), dot);
    }
    score.push_back(dot * args.scale);
    block.max = std::max(block.max, score.back());
  }
  LaneSum sum;
  for (int64_t j = first; j <= last; ++j) {
    const float weight = Exp(score[j - first] - block.max);
    sum.Add(j, weight);
    for (int64_t d = 0; d < head_dim; ++d) {
      block.value[d] = std::fma(weight, Value(args, sequence, kv_head, j, d), block.value[d]);
    }
  }
  block.sum = sum.Total();
  return block;
}

void Merge(const State& block, State& state) {
  const float max = std::max(state.max, block.max);
  const float a = Exp(state.max - max), b = Exp(block.max - max);
  state.max = max;
  state.sum = std::fma(state.sum, a, block.sum * b);
  for (size_t d = 0; d < state.value.size(); ++d) {
    state.value[d] = std::fma(state.value[d], a, block.value[d] * b);
  }
}

State AttendRow(const AttentionArgs& args, const AttentionSequence& sequence, int64_t kv_head,
                const float* q, int64_t position) {
  const int64_t first = FirstVisible(position, args.window);
  State state;
  for (int64_t begin = first; begin <= position;) {
    const int64_t end = std::min((begin / kBlock + 1) * kBlock, position + 1);
    const State block = AttendBlock(args, sequence, kv_head, q, begin, end - 1);
    if (begin == first) {
      state = block;
    } else {
      Merge(block, state);
    }
    begin = end;
  }
  return state;
}

void StoreOutput(const AttentionArgs& args, int64_t offset, float value) {
  if (args.output_type == DType::kFloat32) {
    static_cast<float*>(args.output)[offset] = value;
  } else {
    static_cast<uint16_t*>(args.output)[offset] = FloatToBf16(value);
  }
}

}  // namespace

void AttentionReference(const AttentionArgs& args) {
  SetComputeThreadFloatMode();
  const int64_t head_dim = args.layout.head_dim;
  const int64_t group = args.heads / args.layout.kv_heads;
  int64_t row = 0;
  for (const AttentionSequence& sequence : args.sequences) {
    for (int64_t r = 0; r < sequence.rows; ++r, ++row) {
      for (int64_t head = 0; head < args.heads; ++head) {
        const State state =
            AttendRow(args, sequence, head / group, args.q + row * args.q_stride + head * head_dim,
                      sequence.first_position + r);
        for (int64_t d = 0; d < head_dim; ++d) {
          StoreOutput(args, (row * args.heads + head) * head_dim + d, state.value[d] / state.sum);
        }
      }
    }
  }
}

}  // namespace switchyard::kernels
