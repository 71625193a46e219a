#pragma once

// Expert choice (Zhou et al. 2022, arXiv 2202.09368): each expert takes its tokens, so loads are
// equal by construction. A token's experts depend on the other tokens, later ones too: for training
// and encoders, not for autoregressive decoding.

#include <cstdint>

namespace switchyard::kernels {

// Tokens of each expert: max(1, int(rows * factor / experts)), at most all.
int64_t ExpertChoiceTokens(int64_t rows, int64_t experts, double factor);

struct ExpertChoiceArgs {
  const float* logits = nullptr;  // [rows][experts]
  int64_t rows = 0;
  int64_t experts = 0;
  int64_t tokens = 0;          // of each expert, 1 to rows
  int32_t* rows_of = nullptr;  // [experts][tokens], most probable first, the earliest among equals
  float* weights = nullptr;    // [experts][tokens], softmax over the experts of the row
  uint8_t* failed = nullptr;   // [rows], 1 where the row has no answer; nobody takes it
  int32_t* experts_of = nullptr;  // [rows] or null: how many experts took the row
};

// Rows run out where too many failed: then rows_of is -1 and the weight 0. Allocates.
void ExpertChoice(const ExpertChoiceArgs& args);

}  // namespace switchyard::kernels
