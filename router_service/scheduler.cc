#include "router_service/scheduler.h"

#include <algorithm>
#include <utility>

#include "services/base/check.h"

namespace switchyard::router {
namespace {

using transport::Phase;

Phase Other(Phase phase) { return phase == Phase::kDecode ? Phase::kPrefill : Phase::kDecode; }

// One token to compute is decode, also where it is the last of a prompt: it costs the same.
Phase PhaseOf(const Sequence& sequence) {
  const bool one = sequence.pending() == 1 && !sequence.needs_encoder();
  return one ? Phase::kDecode : Phase::kPrefill;
}

bool Ready(const Sequence& sequence) {
  return !sequence.in_flight && !sequence.paused && sequence.pending() > 0;
}

void AddChunk(Sequence& sequence, int64_t rows, BatchPlan& plan) {
  sequence.in_flight = true;
  plan.chunks.push_back({.sequence = &sequence, .first_position = sequence.computed, .rows = rows});
}

// Rows that its next micro-batch must take, all of them; 0: as many as it likes.
int64_t WholeRows(const Sequence& sequence) {
  if (sequence.needs_encoder()) return std::ssize(sequence.source);
  return std::max<int64_t>(0, sequence.whole_rows - sequence.computed);
}

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options, const BlockHash& chain_root, KvCache& cache)
    : options_(options), chain_root_(chain_root), cache_(cache) {}

void Scheduler::Add(Sequence& sequence) {
  CHECK(waiting_.empty() || waiting_.back()->id < sequence.id) << "sequences come in order of id";
  waiting_.push_back(&sequence);
}

bool Scheduler::Next(std::optional<Phase> other, BatchPlan& plan) {
  Admit();
  const bool decode = HasWork(Phase::kDecode), prefill = HasWork(Phase::kPrefill);
  if (!decode && !prefill) return false;
  plan.chunks.clear();
  plan.encoder = false;
  plan.phase = decode && prefill ? Other(other.value_or(last_phase_))
                                 : (decode ? Phase::kDecode : Phase::kPrefill);
  if (plan.phase == Phase::kDecode) {
    int64_t ready = 0, rows = 0;
    for (const Sequence* const sequence : running_) {
      if (!Ready(*sequence) || PhaseOf(*sequence) != Phase::kDecode) continue;
      ++ready;
      rows += 1 + std::ssize(sequence->drafts);
    }
    const bool split = !other && !prefill && rows >= 2 * options_.split_rows;
    PlanDecode(split ? (ready + 1) / 2 : ready, plan);
  } else {
    PlanPrefill(plan);
  }
  last_phase_ = plan.phase;
  return !plan.chunks.empty();
}

void Scheduler::Complete(const PlannedChunk& chunk) {
  Sequence& sequence = *chunk.sequence;
  sequence.in_flight = false;
  if (sequence.needs_encoder()) {
    sequence.encoded = true;
    return;
  }
  sequence.computed += chunk.rows;
  ReleaseDraftPages(sequence);
  if (!sequence.share_prefix) return;
  ExtendChain(VariantRoot(chain_root_, sequence.rope.regime), sequence.tokens, sequence.chain);
  for (; sequence.published < sequence.computed / kPagePositions; ++sequence.published) {
    cache_.Publish(sequence.pages[sequence.published], sequence.chain[sequence.published]);
  }
}

void Scheduler::Discard(const PlannedChunk& chunk) {
  chunk.sequence->in_flight = false;
  chunk.sequence->drafts.clear();
  ReleaseDraftPages(*chunk.sequence);
}

void Scheduler::Remove(Sequence& sequence) {
  CHECK(!sequence.in_flight) << "sequence " << sequence.id << " is removed in flight";
  ReleasePages(sequence);
  std::erase(running_, &sequence);
  std::erase(waiting_, &sequence);
}

void Scheduler::Admit() {
  const auto next = [this] {
    return std::find_if(waiting_.begin(), waiting_.end(),
                        [](const Sequence* sequence) { return !sequence->paused; });
  };
  for (auto head = next(); head != waiting_.end(); head = next()) {
    Sequence& sequence = **head;
    while (!Admit(sequence)) {
      if (!PreemptPaused()) return;
    }
    std::erase(waiting_, &sequence);
  }
}

// False when it does not fit now.
bool Scheduler::Admit(Sequence& sequence) {
  if (running() >= options_.max_running) return false;
  const int64_t tokens = static_cast<int64_t>(sequence.tokens.size());
  std::span<const BlockHash> shareable;
  if (sequence.share_prefix) {
    ExtendChain(VariantRoot(chain_root_, sequence.rope.regime), sequence.tokens, sequence.chain);
    // The last token is always computed: its row gives the next one.
    shareable = std::span(sequence.chain).first((tokens - 1) / kPagePositions);
  }
  const int64_t source_pages = PagesFor(std::ssize(sequence.source));
  const std::optional<int64_t> shared =
      cache_.Acquire(shareable, PagesFor(tokens) + source_pages, running(), sequence.pages);
  if (!shared) return false;
  sequence.source_pages.assign(sequence.pages.end() - source_pages, sequence.pages.end());
  sequence.pages.resize(sequence.pages.size() - source_pages);
  sequence.published = *shared;
  sequence.computed = *shared * kPagePositions;
  if (sequence.cached_tokens < 0) sequence.cached_tokens = sequence.computed;
  if (sequence.share_prefix) {
    counters_.prefix_queries += tokens;
    counters_.prefix_hits += sequence.computed;
  }
  // One that was paused may be older than some that run.
  const auto later = std::find_if(running_.begin(), running_.end(),
                                  [&](const Sequence* other) { return other->id > sequence.id; });
  running_.insert(later, &sequence);
  return true;
}

// Takes the pages of the youngest paused sequence; false when none can be had.
bool Scheduler::PreemptPaused() {
  const auto paused = std::find_if(
      running_.rbegin(), running_.rend(),
      [](const Sequence* sequence) { return sequence->paused && !sequence->in_flight; });
  if (paused == running_.rend()) return false;
  Preempt(**paused);
  return true;
}

bool Scheduler::HasWork(Phase phase) const {
  return std::any_of(running_.begin(), running_.end(), [phase](const Sequence* sequence) {
    return Ready(*sequence) && PhaseOf(*sequence) == phase;
  });
}

void Scheduler::PlanDecode(int64_t sequences, BatchPlan& plan) {
  sequences = std::min(sequences, options_.max_batch_rows);
  // By index: MakeRoom takes sequences off the end.
  for (size_t i = 0; i < running_.size() && std::ssize(plan.chunks) < sequences; ++i) {
    Sequence& sequence = *running_[i];
    if (!Ready(sequence) || PhaseOf(sequence) != Phase::kDecode || !MakeRoom(sequence)) continue;
    AddChunk(sequence, 1, plan);
  }
  AddDrafts(plan);
}

// Once all tokens have their rows and pages, drafts get what is left.
void Scheduler::AddDrafts(BatchPlan& plan) {
  int64_t left = options_.max_batch_rows - std::ssize(plan.chunks);
  const int64_t spare_pages = running() - std::ssize(plan.chunks);
  for (PlannedChunk& chunk : plan.chunks) {
    chunk.drafts = DraftsThatFit(*chunk.sequence, left, spare_pages);
    chunk.rows += chunk.drafts;
    left -= chunk.drafts;
  }
}

void Scheduler::PlanPrefill(BatchPlan& plan) {
  int64_t left = options_.max_batch_rows;
  for (Sequence* const sequence : running_) {
    if (left <= 0) return;
    if (!Ready(*sequence) || PhaseOf(*sequence) != Phase::kPrefill) continue;
    const int64_t whole = WholeRows(*sequence);
    if (plan.chunks.empty()) {
      plan.encoder = sequence->needs_encoder();
    } else if (plan.encoder != sequence->needs_encoder() || whole > left) {
      continue;
    }
    const int64_t rows =
        whole > 0 ? whole : std::min({sequence->pending(), options_.prefill_chunk, left});
    AddChunk(*sequence, rows, plan);
    left -= rows;
  }
}

// Sees to it that the sequence has a page for its next token, at the cost of younger ones. False
// when it must wait or was itself the youngest.
bool Scheduler::MakeRoom(Sequence& sequence) {
  while (PagesFor(sequence.computed + 1) > std::ssize(sequence.pages)) {
    if (cache_.Extend(sequence.pages)) continue;
    const auto youngest = std::find_if(running_.rbegin(), running_.rend(),
                                       [](const Sequence* other) { return !other->in_flight; });
    Sequence& victim = **youngest;
    Preempt(victim);
    if (&victim == &sequence) return false;
  }
  return true;
}

// How many drafts behind its next token the sequence has pages for, those included that can be had
// with `spare_pages` left free.
int64_t Scheduler::DraftsThatFit(Sequence& sequence, int64_t most, int64_t spare_pages) {
  most = std::min<int64_t>(most, std::ssize(sequence.drafts));
  const int64_t first = sequence.computed + 1;
  while (PagesFor(first + most) > std::ssize(sequence.pages) && cache_.free_pages() > spare_pages &&
         cache_.Extend(sequence.pages)) {
  }
  return std::min(most, std::ssize(sequence.pages) * kPagePositions - first);
}

void Scheduler::Preempt(Sequence& sequence) {
  ++counters_.preemptions;
  ReleasePages(sequence);
  sequence.computed = 0;
  sequence.published = 0;
  std::erase(running_, &sequence);
  const auto later = std::find_if(waiting_.begin(), waiting_.end(),
                                  [&](const Sequence* other) { return other->id > sequence.id; });
  waiting_.insert(later, &sequence);
}

void Scheduler::ReleasePages(Sequence& sequence) {
  cache_.Release(sequence.pages);
  cache_.Release(sequence.source_pages);
  sequence.encoded = false;
}

// Gives back what lies behind the page of the sequence's last token.
void Scheduler::ReleaseDraftPages(Sequence& sequence) {
  cache_.Release(sequence.pages, PagesFor(std::ssize(sequence.tokens)));
}

}  // namespace switchyard::router
