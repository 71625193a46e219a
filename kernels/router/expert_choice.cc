#include "kernels/router/expert_choice.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "kernels/router/selection.h"

namespace switchyard::kernels {
namespace {

void Take(const ExpertChoiceArgs& args, int64_t expert, const std::vector<float>& probability,
          std::vector<int32_t>& order) {
  const auto of = [&](int32_t row) { return probability[row * args.experts + expert]; };
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + args.tokens, order.end(),
                    [&](int32_t a, int32_t b) { return of(a) != of(b) ? of(a) > of(b) : a < b; });
  for (int64_t i = 0; i < args.tokens; ++i) {
    const int64_t at = expert * args.tokens + i;
    const bool taken = args.failed[order[i]] == 0;
    args.rows_of[at] = taken ? order[i] : -1;
    args.weights[at] = taken ? of(order[i]) : 0.0f;
    if (taken && args.experts_of != nullptr) ++args.experts_of[order[i]];
  }
}

}  // namespace

int64_t ExpertChoiceTokens(int64_t rows, int64_t experts, double factor) {
  const auto tokens =
      static_cast<int64_t>(static_cast<double>(rows) * factor / static_cast<double>(experts));
  return std::min(std::max<int64_t>(tokens, 1), rows);
}

void ExpertChoice(const ExpertChoiceArgs& args) {
  SetComputeThreadFloatMode();
  std::vector<float> probability(static_cast<size_t>(args.rows * args.experts));
  for (int64_t row = 0; row < args.rows; ++row) {
    float* const of_row = probability.data() + row * args.experts;
    args.failed[row] = !Softmax(args.logits + row * args.experts, args.experts, of_row);
    if (args.failed[row]) std::fill_n(of_row, args.experts, -1.0f);  // behind every probability
  }
  if (args.experts_of != nullptr) std::fill_n(args.experts_of, args.rows, 0);
  std::vector<int32_t> order(static_cast<size_t>(args.rows));
  for (int64_t expert = 0; expert < args.experts; ++expert) {
    Take(args, expert, probability, order);
  }
}

}  // namespace switchyard::kernels
