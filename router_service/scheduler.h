#pragma once

// Which sequences' rows go into the next micro-batch. First come, first served, under these rules:
//  - A micro-batch is either decode (one token of each of many sequences, then their drafts as far
//    as rows go) or prefill (chunks of prompts), so that decode keeps its precedence at the expert
//    hosts. When both have work, the two micro-batches
//    take one each; a lone one alternates.
//  - With no prefill to do, many decoding sequences are split over both micro-batches.
//  - A sequence is admitted when the KV cache has pages for all of its tokens, after those it can
//    share, and one to spare for each sequence that runs.
//  - When a decoding sequence needs a page and none is free, the youngest gives its pages up and
//    waits again, ahead of all that arrived later; what it had computed is computed again.
//  - No running sequence gives way to a draft: it opens a page only while one is left for every
//    sequence that runs outside its micro-batch, and the page goes back unless the draft was right.
//    Until then a waiting request may lack it.
//  - A paused sequence that runs gives its pages up as soon as another cannot be admitted, and is
//    not admitted again before its pause ends: who does not take results holds nobody up.
//  - Rows that must be computed together, an encoder's or those that share a capacity, are never
//    cut: they wait for a micro-batch that has room, or get one of their own, whatever their
//    number. A micro-batch runs the encoder or the decoder, not both.
// Running sequences are therefore always older than those that wait for pages, and the oldest that
// is not paused always progresses.
//
// Pure policy: no threads, no clock, no input or output. Owns no sequences.

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "router_service/kv_cache.h"
#include "router_service/sequence.h"
#include "services/transport/frame.h"

namespace switchyard::router {

struct SchedulerOptions {
  int64_t max_batch_rows = 256;  // of a micro-batch, but for rows that cannot be cut
  int64_t prefill_chunk = 256;   // most rows of one prompt in a micro-batch
  int64_t max_running = 256;     // sequences that hold pages
  int64_t split_rows = 8;        // decode rows of a micro-batch worth having two of them for
};

struct PlannedChunk {
  Sequence* sequence = nullptr;
  int64_t first_position = 0;
  int64_t rows = 0;
  int64_t drafts = 0;  // the last of them: the sequence's first drafts
};

struct BatchPlan {
  transport::Phase phase = transport::Phase::kDecode;
  bool encoder = false;  // the chunks are of the sequences' sources
  std::vector<PlannedChunk> chunks;
};

struct SchedulerCounters {
  uint64_t preemptions = 0;
  uint64_t prefix_queries = 0;  // tokens looked up at admission
  uint64_t prefix_hits = 0;     // tokens found
};

class Scheduler {
 public:
  Scheduler(const SchedulerOptions& options, const BlockHash& chain_root, KvCache& cache);

  // `sequence` must fit into the cache when it is alone and stay in place until Remove.
  void Add(Sequence& sequence);

  // Fills `plan` with the next micro-batch and marks its sequences as in flight; false when there
  // is nothing to do. `other`: the phase of the micro-batch in flight beside it, if any.
  bool Next(std::optional<transport::Phase> other, BatchPlan& plan);

  // A chunk's rows are computed, by the encoder when its sequence needed it, and those of drafts
  // that were wrong taken off it: advances its sequence, which holds the tokens of all of them, and
  // offers its full pages to others.
  void Complete(const PlannedChunk& chunk);

  // A chunk's rows are not to be used.
  void Discard(const PlannedChunk& chunk);

  // Forgets a sequence that is not in flight and frees its pages.
  void Remove(Sequence& sequence);

  int64_t running() const { return static_cast<int64_t>(running_.size()); }
  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }
  const SchedulerCounters& counters() const { return counters_; }

 private:
  void Admit();
  bool Admit(Sequence& sequence);
  bool PreemptPaused();
  bool HasWork(transport::Phase phase) const;
  void PlanDecode(int64_t sequences, BatchPlan& plan);
  void PlanPrefill(BatchPlan& plan);
  bool MakeRoom(Sequence& sequence);
  void AddDrafts(BatchPlan& plan);
  int64_t DraftsThatFit(Sequence& sequence, int64_t most, int64_t spare_pages);
  void Preempt(Sequence& sequence);
  void ReleasePages(Sequence& sequence);
  void ReleaseDraftPages(Sequence& sequence);

  const SchedulerOptions options_;
  const BlockHash chain_root_;
  KvCache& cache_;
  std::vector<Sequence*> running_;  // by arrival
  std::deque<Sequence*> waiting_;   // by arrival
  transport::Phase last_phase_ = transport::Phase::kPrefill;
  SchedulerCounters counters_;
};

}  // namespace switchyard::router
