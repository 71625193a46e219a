#include "kernels/router/slots.h"

#include <algorithm>
#include <vector>

#include "kernels/router/weigh.h"

namespace switchyard::kernels {
namespace {

bool IsSent(const RouterArgs& args, int64_t row, int64_t rank) {
  const SecondExpert& second = args.convention->second;
  if (rank == 0 || second.policy == SecondPolicy::kAll) return true;
  const float weight = args.weights[row * args.k + rank];
  switch (second.policy) {
    case SecondPolicy::kThreshold:
      return weight > second.threshold;
    case SecondPolicy::kRandom:
      return args.uniform[row] < weight / second.threshold;
    default:
      return false;
  }
}

// Hands out the places of every expert to the rows of one capacity group.
class Queue {
 public:
  // `position` is [rows][k].
  Queue(const RouterArgs& args, int32_t* position)
      : args_(args), position_(position), load_(static_cast<size_t>(args.experts)) {}

  void Fill(RowRange rows) {
    std::fill(load_.begin(), load_.end(), 0);
    switch (args_.convention->drop_order) {
      case DropOrder::kChoiceMajor:
        for (int64_t rank = 0; rank < args_.k; ++rank) {
          for (int64_t row = rows.begin; row < rows.end; ++row) Take(row, rank);
        }
        return;
      case DropOrder::kTokenMajor:
        for (int64_t row = rows.begin; row < rows.end; ++row) TakeAll(row);
        return;
      case DropOrder::kRandom:
        for (int64_t i = rows.begin; i < rows.end; ++i) TakeAll(args_.permutation[i]);
        return;
      case DropOrder::kProbability:
        return FillByWeight(rows);
    }
  }

 private:
  void TakeAll(int64_t row) {
    for (int64_t rank = 0; rank < args_.k; ++rank) Take(row, rank);
  }

  void Take(int64_t row, int64_t rank) {
    const int64_t at = row * args_.k + rank;
    const int32_t expert = args_.ids[at];
    const bool counts =
        expert >= 0 && (args_.convention->second.unsent_takes_slot || IsSent(args_, row, rank));
    position_[at] = counts ? load_[expert]++ : -1;
  }

  void FillByWeight(RowRange rows) {
    by_weight_.clear();
    for (int64_t at = rows.begin * args_.k; at < rows.end * args_.k; ++at) by_weight_.push_back(at);
    std::stable_sort(by_weight_.begin(), by_weight_.end(),
                     [this](int64_t a, int64_t b) { return args_.weights[a] > args_.weights[b]; });
    for (const int64_t at : by_weight_) Take(at / args_.k, at % args_.k);
  }

  const RouterArgs& args_;
  int32_t* const position_;
  std::vector<int32_t> load_;       // [experts]
  std::vector<int64_t> by_weight_;  // choices (row * k + rank), largest weight first
};

void Drop(const RouterArgs& args, RowRange rows, int64_t capacity, const int32_t* position) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    if (args.failed[row]) continue;
    // All decisions first: the second expert's depends on its weight.
    const bool second_is_sent = args.k < 2 || IsSent(args, row, 1);
    float* const weights = args.weights + row * args.k;
    for (int64_t rank = 0; rank < args.k; ++rank) {
      const int32_t place = position[row * args.k + rank];
      const bool sent = rank != 1 || second_is_sent;
      if (sent && place >= 0 && place < capacity) continue;
      args.ids[row * args.k + rank] = -1;
      weights[rank] = 0.0f;
    }
    if (args.convention->normalization == Normalization::kKept) {
      DivideBySum(weights, args.k, args.convention->norm_floor, args.convention->norm_added);
    }
  }
}

template <typename F>
void ForEachCapacityGroup(const RouterArgs& args, F&& f) {
  switch (args.convention->capacity_scope) {
    case CapacityScope::kSequence:
      if (args.sequences.empty()) return f(RowRange{0, args.rows});
      for (const RowRange& range : args.sequences) f(range);
      return;
    case CapacityScope::kBatch:
      return f(RowRange{0, args.rows});
    case CapacityScope::kGroup:
      const int64_t step = args.convention->group_rows;
      for (int64_t begin = 0; begin < args.rows; begin += step) {
        f(RowRange{begin, std::min(begin + step, args.rows)});
      }
      return;
  }
}

}  // namespace

bool NeedsSlots(const RouterArgs& args) {
  const RouterConvention& convention = *args.convention;
  return args.position != nullptr || convention.normalization == Normalization::kKept ||
         convention.second.policy != SecondPolicy::kAll || IsLimited(convention.capacity);
}

absl::Status CheckPermutation(const RouterArgs& args) {
  if (args.convention->drop_order != DropOrder::kRandom || args.rows == 0) return absl::OkStatus();
  if (args.permutation == nullptr) {
    return absl::InvalidArgumentError("drops in random order need a permutation of the rows");
  }
  std::vector<bool> seen(static_cast<size_t>(args.rows));
  bool valid = true;
  ForEachCapacityGroup(args, [&](RowRange rows) {
    for (int64_t i = rows.begin; i < rows.end; ++i) {
      const int64_t row = args.permutation[i];
      const bool fresh = row >= rows.begin && row < rows.end && !seen[row];
      valid &= fresh;
      if (fresh) seen[row] = true;
    }
  });
  if (valid) return absl::OkStatus();
  return absl::InvalidArgumentError("permutation does not permute the rows of a capacity group");
}

void AssignSlots(const RouterArgs& args) {
  std::vector<int32_t> own;
  int32_t* position = args.position;
  if (position == nullptr) {
    own.resize(static_cast<size_t>(args.rows * args.k));
    position = own.data();
  }
  Queue queue(args, position);
  ForEachCapacityGroup(args, [&](RowRange rows) {
    queue.Fill(rows);
    Drop(args, rows,
         ExpertCapacity(args.convention->capacity, rows.end - rows.begin, args.experts, args.k),
         position);
  });
}

}  // namespace switchyard::kernels
