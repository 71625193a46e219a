#pragma once

// The rows of a call of Attention as a GPU reads them: flat, without the sequences they belong to.

#include <cstdint>
#include <vector>

#include "kernels/attention/attention.h"

namespace switchyard::kernels {

struct QueryRow {
  int64_t position = 0;
  int64_t first = 0;  // positions it sees, both included
  int64_t last = 0;
  int64_t pages = 0;  // the page of position p is QueryRows::pages[pages + p / kPagePositions]
};

struct QueryRows {
  std::vector<QueryRow> rows;  // of all sequences in order
  std::vector<int32_t> pages;  // those that are read, once a sequence

  // Replaces the content; keeps the vectors' memory.
  void Build(const AttentionArgs& args);
};

}  // namespace switchyard::kernels
