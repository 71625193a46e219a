#include "router_service/planned_chunk.h"

#include <algorithm>

namespace switchyard::router {
namespace {

SequenceChunk EncoderChunk(const PlannedChunk& chunk) {
  const Sequence& sequence = *chunk.sequence;
  return {.tokens = sequence.source.data(),
          .rows = chunk.rows,
          .pages = sequence.source_pages.data(),
          .full_pass = true,
          .counted_together = chunk.rows,
          .encoder = true};
}

SequenceChunk DecoderChunk(const PlannedChunk& chunk) {
  const Sequence& sequence = *chunk.sequence;
  const int64_t whole = std::max<int64_t>(0, sequence.whole_rows - chunk.first_position);
  return {.tokens = sequence.tokens.data() + chunk.first_position,
          .first_position = chunk.first_position,
          .rows = chunk.rows,
          .pages = sequence.pages.data(),
          .ahead = std::span(sequence.drafts).first(chunk.drafts),
          .rope = sequence.rope.table.get(),
          .full_pass = sequence.full_pass,
          .counted_together = std::min(whole, chunk.rows),
          .source_pages = sequence.source.empty() ? nullptr : sequence.source_pages.data(),
          .source_rows = std::ssize(sequence.source)};
}

}  // namespace

SequenceChunk ChunkOf(const PlannedChunk& chunk, bool encoder) {
  return encoder ? EncoderChunk(chunk) : DecoderChunk(chunk);
}

}  // namespace switchyard::router
