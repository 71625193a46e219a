#include "kernels/sampling/sum_exp.h"

#include <algorithm>

#include "kernels/base/for_level.h"
#include "kernels/sampling/sum_exp_kernel.h"

namespace switchyard::kernels {

double SumExp(std::span<const float> values, float max, float floor) {
  constexpr size_t kBlock = 1024;
  SumExpBlock* const sum_block =
      ForActiveLevel(&SumExpBlockScalar, &SumExpBlockAvx2, &SumExpBlockAvx512);
  double total = 0;
  for (size_t begin = 0; begin < values.size(); begin += kBlock) {
    const size_t count = std::min(kBlock, values.size() - begin);
    total += sum_block(values.data() + begin, static_cast<int64_t>(count), max, floor);
  }
  return total;
}

}  // namespace switchyard::kernels
