#include "kernels/attention/query_rows.h"

#include "kernels/attention/kv_page.h"

namespace switchyard::kernels {

void QueryRows::Build(const AttentionArgs& args) {
  constexpr int64_t kPage = KvLayout::kPagePositions;
  rows.clear();
  pages.clear();
  for (const AttentionSequence& sequence : args.sequences) {
    if (sequence.rows == 0) continue;
    const int64_t end = sequence.first_position + sequence.rows;
    const int64_t first_page = FirstVisible(sequence, sequence.first_position, args.window) / kPage;
    const int64_t end_page = LastVisible(sequence, end - 1) / kPage + 1;
    const int64_t shift = static_cast<int64_t>(pages.size()) - first_page;
    pages.insert(pages.end(), sequence.pages + first_page, sequence.pages + end_page);
    for (int64_t position = sequence.first_position; position < end; ++position) {
      rows.push_back({.position = position,
                      .first = FirstVisible(sequence, position, args.window),
                      .last = LastVisible(sequence, position),
                      .pages = shift});
    }
  }
}

}  // namespace switchyard::kernels
