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
  if (args.layout.values_in_keys) return Key(args, sequence, head, position, d);
  return Element(args, ValueOffset(args.layout, sequence.pages[position / kPage], head) +
                           position % kPage * args.layout.value_elements() + d);
}

// One row's query head.
struct Query {
  const AttentionSequence* sequence;
  int64_t position;
  int64_t head;
  int64_t kv_head;
  const float* q;
};

struct State {
  float max;
  float sum;
  std::vector<float> value;
};

float Score(const AttentionArgs& args, const Query& query, int64_t j) {
  float dot = 0;
  for (int64_t d = 0; d < args.layout.head_dim; ++d) {
    dot = std::fma(query.q[d], Key(args, *query.sequence, query.kv_head, j, d), dot);
  }
  const float score = dot * args.scale;
  if (args.relative_bias.values == nullptr) return score;
  return score + args.relative_bias.At(query.head, j - query.position);
}

// Positions [first, last] of one block.
State AttendBlock(const AttentionArgs& args, const Query& query, int64_t first, int64_t last) {
  const int64_t value_dim = args.layout.value_elements();
  State block{-std::numeric_limits<float>::infinity(), 0, std::vector<float>(value_dim, 0.0f)};
  std::vector<float> score;
  for (int64_t j = first; j <= last; ++j) {
    score.push_back(Score(args, query, j));
    block.max = std::max(block.max, score.back());
  }
  LaneSum sum;
  for (int64_t j = first; j <= last; ++j) {
    const float weight = Exp(score[j - first] - block.max);
    sum.Add(j, weight);
    for (int64_t d = 0; d < value_dim; ++d) {
      const float value = Value(args, *query.sequence, query.kv_head, j, d);
      block.value[d] = std::fma(weight, value, block.value[d]);
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

void MergeSink(float sink, State& state) {
  const float max = std::max(state.max, sink);
  const float a = Exp(state.max - max), b = Exp(sink - max);
  state.sum = std::fma(state.sum, a, b);
  for (float& value : state.value) value *= a;
}

State Attend(const AttentionArgs& args, const Query& query) {
  const int64_t first = FirstVisible(*query.sequence, query.position, args.window);
  const int64_t last = LastVisible(*query.sequence, query.position);
  State state;
  for (int64_t begin = first; begin <= last;) {
    const int64_t end = std::min((begin / kBlock + 1) * kBlock, last + 1);
    const State block = AttendBlock(args, query, begin, end - 1);
    if (begin == first) {
      state = block;
    } else {
      Merge(block, state);
    }
    begin = end;
  }
  if (args.sinks != nullptr) MergeSink(args.sinks[query.head], state);
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
  const int64_t value_dim = args.layout.value_elements();
  const int64_t group = args.heads / args.layout.kv_heads;
  int64_t row = 0;
  for (const AttentionSequence& sequence : args.sequences) {
    for (int64_t r = 0; r < sequence.rows; ++r, ++row) {
      for (int64_t head = 0; head < args.heads; ++head) {
        const State state =
            Attend(args, {.sequence = &sequence,
                          .position = sequence.first_position + r,
                          .head = head,
                          .kv_head = head / group,
                          .q = args.q + row * args.q_stride + head * args.layout.head_dim});
        for (int64_t d = 0; d < value_dim; ++d) {
          StoreOutput(args, (row * args.heads + head) * value_dim + d, state.value[d] / state.sum);
        }
      }
    }
  }
}

}  // namespace switchyard::kernels
