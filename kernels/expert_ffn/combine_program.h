#pragma once

// The tree of combine.h over one token's rows as a stack program: the same for every element, so it
// is made once. Internal to kernels/.

#include <cstdint>
#include <span>

#include "kernels/expert_ffn/combine.h"
#include "kernels/expert_ffn/row_kernels.h"

namespace switchyard::kernels {

struct CombineProgram {
  CombineStep steps[2 * kMaxCombineRows];
  int64_t step_count = 0;  // 0: no rows
  const void* rows[kMaxCombineRows];
  int64_t row_count = 0;
};

// Aborts with a message when there are more than kMaxCombineRows rows.
CombineProgram MakeCombineProgram(std::span<const CombineRow> rows);

// Of the rows that token `token` of the arguments has.
CombineProgram MakeCombineProgram(const CombineTokensArgs& args, int64_t token);

}  // namespace switchyard::kernels
