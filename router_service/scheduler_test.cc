#include "router_service/scheduler.h"

#include <memory>
#include <numeric>
#include <random>

#include "gtest/gtest.h"

namespace switchyard::router {
namespace {

using transport::Phase;

class SchedulerTest : public ::testing::Test {
 protected:
  void Start(int64_t pages, SchedulerOptions options = {}) {
    cache_ = std::make_unique<KvCache>(pages);
    scheduler_ = std::make_unique<Scheduler>(options, BlockHash{1, 2}, *cache_);
  }

  // A sequence of distinct tokens (no prefix in common with another), or of a given start.
  Sequence& Add(int64_t tokens, int32_t first_token = -1) {
    auto sequence = std::make_unique<Sequence>();
    sequence->id = ++last_id_;
    sequence->tokens.resize(tokens);
    std::iota(sequence->tokens.begin(), sequence->tokens.end(),
              first_token >= 0 ? first_token : static_cast<int32_t>(last_id_ * 100000));
    sequences_.push_back(std::move(sequence));
    scheduler_->Add(*sequences_.back());
    return *sequences_.back();
  }

  bool Next(std::optional<Phase> other = {}) { return scheduler_->Next(other, plan_); }

  // Ends the plan's batch: chunks that reach a sequence's end yield a token.
  void Complete(const BatchPlan& plan) {
    for (const PlannedChunk& chunk : plan.chunks) {
      scheduler_->Complete(chunk);
      if (chunk.sequence->pending() == 0) chunk.sequence->tokens.push_back(7);
    }
  }
  void Complete() { Complete(plan_); }

  std::vector<std::pair<uint64_t, int64_t>> Rows() const {
    std::vector<std::pair<uint64_t, int64_t>> rows;
    for (const PlannedChunk& chunk : plan_.chunks)
      rows.emplace_back(chunk.sequence->id, chunk.rows);
    return rows;
  }

  using RowList = std::vector<std::pair<uint64_t, int64_t>>;
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<std::unique_ptr<Sequence>> sequences_;
  BatchPlan plan_;
  uint64_t last_id_ = 0;
};

TEST_F(SchedulerTest, WholeRowsAreNeverCut) {
  Start(64, {.max_batch_rows = 20, .prefill_chunk = 8});
  Add(12);
  Sequence& whole = Add(30);
  whole.whole_rows = 25;
  ASSERT_TRUE(Next());
  EXPECT_EQ(Rows(), (RowList{{1, 8}}));  // 12 rows are left, too few for the other's 25
  Complete();
  ASSERT_TRUE(Next());
  EXPECT_EQ(Rows(), (RowList{{1, 4}}));
  Complete();
  ASSERT_TRUE(Next(Phase::kDecode));
  EXPECT_EQ(Rows(), (RowList{{2, 25}}));  // more than a micro-batch usually has
  Complete();
  ASSERT_TRUE(Next(Phase::kDecode));
  EXPECT_EQ(Rows(), (RowList{{2, 5}}));  // what follows is cut as always
}

TEST_F(SchedulerTest, WholeRowsShareAMicroBatchThatHasRoom) {
  Start(64, {.max_batch_rows = 20, .prefill_chunk = 8});
  Add(10).whole_rows = 10;
  Add(11).whole_rows = 11;
  Add(9).whole_rows = 9;
  ASSERT_TRUE(Next());
  EXPECT_EQ(Rows(), (RowList{{1, 10}, {3, 9}}));
}

TEST_F(SchedulerTest, TheEncoderRunsFirstAndApart) {
  Start(64, {.max_batch_rows = 100, .prefill_chunk = 8});
  Add(10);
  for (int i = 0; i < 2; ++i) {
    Sequence& sequence = Add(1);
    sequence.source.assign(20, 5);
    sequence.share_prefix = false;
  }
  ASSERT_TRUE(Next());
  EXPECT_FALSE(plan_.encoder);
  EXPECT_EQ(Rows(), (RowList{{1, 8}}));
  BatchPlan decoder = plan_;
  ASSERT_TRUE(Next(Phase::kDecode));
  EXPECT_TRUE(plan_.encoder);
  EXPECT_EQ(Rows(), (RowList{{2, 20}, {3, 20}}));
  const Sequence& sequence = *sequences_[1];
  EXPECT_EQ(sequence.source_pages.size(), 2u);
  EXPECT_EQ(sequence.pages.size(), 1u);
  for (const PlannedChunk& chunk : plan_.chunks) scheduler_->Complete(chunk);
  EXPECT_TRUE(sequence.encoded);
  EXPECT_EQ(sequence.computed, 0);
  Complete(decoder);
  ASSERT_TRUE(Next(Phase::kPrefill));
  EXPECT_FALSE(plan_.encoder);
  EXPECT_EQ(Rows(), (RowList{{2, 1}, {3, 1}}));
  Complete();
  for (const auto& added : sequences_) scheduler_->Remove(*added);
  EXPECT_EQ(cache_->used_pages(), 0);
}

TEST_F(SchedulerTest, APreemptedSequenceIsEncodedAgain) {
  Start(8);
  Add(40);
  Sequence& sequence = Add(15);
  sequence.source.assign(30, 5);
  sequence.share_prefix = false;
  while (sequences_[0]->tokens.size() < 90) {
    ASSERT_TRUE(Next());
    Complete();
  }
  EXPECT_GT(scheduler_->counters().preemptions, 0u);
  EXPECT_FALSE(sequence.encoded);
  EXPECT_TRUE(sequence.source_pages.empty());
}

TEST_F(SchedulerTest, CutsAPromptIntoChunks) {
  Start(64, {.max_batch_rows = 100, .prefill_chunk = 30});
  Sequence& sequence = Add(70);
  for (const int64_t first : {0, 30, 60}) {
    ASSERT_TRUE(Next());
    EXPECT_EQ(plan_.phase, Phase::kPrefill);
    ASSERT_EQ(plan_.chunks.size(), 1u);
    EXPECT_EQ(plan_.chunks[0].first_position, first);
    EXPECT_FALSE(Next(plan_.phase)) << "a sequence is in one micro-batch at a time";
    Complete(plan_);
  }
  EXPECT_EQ(sequence.computed, 70);
  ASSERT_TRUE(Next());
  EXPECT_EQ(plan_.phase, Phase::kDecode);
}

TEST_F(SchedulerTest, FillsAMicroBatchInOrderOfArrival) {
  Start(64, {.max_batch_rows = 50, .prefill_chunk = 30});
  Add(40);
  Add(40);
  ASSERT_TRUE(Next());
  EXPECT_EQ(Rows(), (RowList{{1, 30}, {2, 20}}));
}

TEST_F(SchedulerTest, DecodeAndPrefillTakeOneMicroBatchEach) {
  Start(64);
  Add(20);
  ASSERT_TRUE(Next());
  Complete();
  Add(20);
  ASSERT_TRUE(Next());
  EXPECT_EQ(plan_.phase, Phase::kDecode);
  ASSERT_TRUE(Next(Phase::kDecode));
  EXPECT_EQ(plan_.phase, Phase::kPrefill);
}

TEST_F(SchedulerTest, ALoneMicroBatchAlternates) {
  Start(64, {.prefill_chunk = 10});
  Add(1);
  ASSERT_TRUE(Next());
  Complete();
  Add(100);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Next());
    EXPECT_EQ(plan_.phase, Phase::kPrefill);
    Complete();
    ASSERT_TRUE(Next());
    EXPECT_EQ(plan_.phase, Phase::kDecode);
    Complete();
  }
}

TEST_F(SchedulerTest, SplitsManyDecodingSequences) {
  Start(64, {.split_rows = 2});
  for (int i = 0; i < 5; ++i) Add(1);
  ASSERT_TRUE(Next());
  EXPECT_EQ(Rows(), (RowList{{1, 1}, {2, 1}, {3, 1}}));
  ASSERT_TRUE(Next(Phase::kDecode));
  EXPECT_EQ(Rows(), (RowList{{4, 1}, {5, 1}}));
}

TEST_F(SchedulerTest, KeepsFewDecodingSequencesTogether) {
  Start(64, {.split_rows = 3});
  for (int i = 0; i < 5; ++i) Add(1);
  ASSERT_TRUE(Next());
  EXPECT_EQ(plan_.chunks.size(), 5u);
}

TEST_F(SchedulerTest, AdmitsOnlyWhatFitsAndKeepsTheOrder) {
  Start(4);
  Add(40);  // 3 pages
  Add(40);
  Add(1);  // would fit, but comes after one that does not
  ASSERT_TRUE(Next());
  EXPECT_EQ(scheduler_->running(), 1);
  EXPECT_EQ(scheduler_->waiting(), 2);
}

TEST_F(SchedulerTest, RespectsTheLimitOfRunningSequences) {
  Start(64, {.max_running = 2});
  for (int i = 0; i < 3; ++i) Add(1);
  ASSERT_TRUE(Next());
  EXPECT_EQ(scheduler_->running(), 2);
  Complete();
  scheduler_->Remove(*sequences_[0]);
  ASSERT_TRUE(Next());
  EXPECT_EQ(Rows(), (RowList{{2, 1}, {3, 1}}));
}

TEST_F(SchedulerTest, ComputesOnlyWhatIsNotShared) {
  Start(64);
  Add(40, 0);
  ASSERT_TRUE(Next());
  Complete();
  Sequence& second = Add(50, 0);
  ASSERT_TRUE(Next(Phase::kDecode));
  ASSERT_EQ(plan_.chunks.size(), 1u);
  EXPECT_EQ(plan_.chunks[0].first_position, 32);
  EXPECT_EQ(plan_.chunks[0].rows, 18);
  EXPECT_EQ(second.cached_tokens, 32);
  EXPECT_EQ(scheduler_->counters().prefix_hits, 32u);
  EXPECT_EQ(scheduler_->counters().prefix_queries, 90u);
}

TEST_F(SchedulerTest, AlwaysComputesTheLastToken) {
  Start(64);
  Add(32, 0);
  ASSERT_TRUE(Next());
  Complete();
  scheduler_->Remove(*sequences_[0]);
  Sequence& second = Add(32, 0);
  ASSERT_TRUE(Next());
  EXPECT_EQ(second.computed, 16);
}

TEST_F(SchedulerTest, SharesNothingThatWantsEveryRow) {
  Start(64);
  Add(40, 0);
  ASSERT_TRUE(Next());
  Complete();
  scheduler_->Remove(*sequences_[0]);
  Add(40, 0).share_prefix = false;
  ASSERT_TRUE(Next());
  EXPECT_EQ(plan_.chunks[0].first_position, 0);
}

TEST_F(SchedulerTest, PreemptsTheYoungestWhichWaitsFirst) {
  Start(4);
  Add(15);
  Add(15);
  Sequence& third = Add(1);
  third.paused = true;
  ASSERT_TRUE(Next());
  Complete();  // each of 1 and 2 is now 16 tokens long
  ASSERT_EQ(scheduler_->running(), 2);
  ASSERT_TRUE(Next());
  Complete();
  for (int i = 0; i < 16; ++i) {  // up to 32 tokens computed, in two pages each
    ASSERT_TRUE(Next());
    Complete();
  }
  ASSERT_EQ(cache_->free_pages(), 0);
  ASSERT_TRUE(Next());  // the third page: 2 gives way
  EXPECT_EQ(Rows(), (RowList{{1, 1}}));
  EXPECT_EQ(scheduler_->counters().preemptions, 1u);
  EXPECT_EQ(sequences_[1]->computed, 0);
  EXPECT_TRUE(sequences_[1]->pages.empty());
  Complete();
  scheduler_->Remove(*sequences_[0]);
  ASSERT_TRUE(Next());
  EXPECT_EQ(plan_.chunks[0].sequence, sequences_[1].get()) << "ahead of what arrived later";
}

TEST_F(SchedulerTest, DoesNotPreemptWhatIsInFlight) {
  Start(5, {.split_rows = 1});
  Add(31);
  Add(31);
  ASSERT_TRUE(Next());
  Complete();
  std::vector<int32_t> last_free_page;
  ASSERT_TRUE(cache_->Extend(last_free_page));
  ASSERT_TRUE(Next());
  ASSERT_EQ(Rows(), (RowList{{1, 1}}));
  const BatchPlan first = plan_;
  ASSERT_TRUE(Next(Phase::kDecode));
  ASSERT_EQ(Rows(), (RowList{{2, 1}}));
  Complete(first);
  // 1 needs a third page; 2 holds what there is, but is in flight, so 1 itself must give way.
  EXPECT_FALSE(Next(Phase::kDecode));
  EXPECT_TRUE(sequences_[1]->in_flight);
  EXPECT_EQ(sequences_[1]->pages.size(), 2u);
}

TEST_F(SchedulerTest, LeavesPausedSequencesAlone) {
  Start(64);
  Sequence& sequence = Add(20);
  sequence.paused = true;
  EXPECT_FALSE(Next());
  sequence.paused = false;
  EXPECT_TRUE(Next());
}

TEST_F(SchedulerTest, APausedSequenceGivesWayToWhatWouldNotFit) {
  Start(4, {.prefill_chunk = 20});
  Sequence& slow = Add(40);   // 3 pages
  slow.share_prefix = false;  // as an evaluation
  ASSERT_TRUE(Next());
  Complete();
  slow.paused = true;
  Add(30);
  ASSERT_TRUE(Next());
  EXPECT_EQ(Rows(), (RowList{{2, 20}}));
  EXPECT_EQ(scheduler_->counters().preemptions, 1u);
  EXPECT_TRUE(slow.pages.empty());
  EXPECT_EQ(scheduler_->waiting(), 1);
  Complete();
  // It comes back, from its beginning, once its pause is over and there is room.
  slow.paused = false;
  scheduler_->Remove(*sequences_[1]);
  ASSERT_TRUE(Next());
  EXPECT_EQ(Rows(), (RowList{{1, 20}}));
  EXPECT_EQ(plan_.chunks[0].first_position, 0);
}

TEST_F(SchedulerTest, APausedSequenceGivesUpItsPlaceAmongTheRunning) {
  Start(64, {.max_running = 1});
  Add(20).paused = true;
  EXPECT_FALSE(Next()) << "what is paused is not admitted";
  EXPECT_EQ(scheduler_->running(), 0);
  sequences_[0]->paused = false;
  ASSERT_TRUE(Next());
  sequences_[0]->paused = true;
  Add(1);
  EXPECT_FALSE(Next(Phase::kPrefill)) << "its rows are still being computed";
  Complete();
  ASSERT_TRUE(Next());
  EXPECT_EQ(Rows(), (RowList{{2, 1}}));
}

TEST_F(SchedulerTest, OneThatWasPausedIsOlderThanThoseThatRunAgain) {
  Start(64, {.max_running = 2, .split_rows = 100});
  Add(1);
  Add(1);
  ASSERT_TRUE(Next());
  Complete();
  sequences_[0]->paused = true;
  Add(1);
  ASSERT_TRUE(Next());
  EXPECT_EQ(Rows(), (RowList{{2, 1}, {3, 1}}));
  Complete();
  sequences_[0]->paused = false;
  scheduler_->Remove(*sequences_[2]);
  ASSERT_TRUE(Next());
  // Two tokens to compute again make a prompt; the other one decodes beside it.
  EXPECT_EQ(plan_.chunks[0].sequence->id, plan_.phase == Phase::kPrefill ? 1u : 2u);
  EXPECT_EQ(scheduler_->running(), 2);
}

TEST_F(SchedulerTest, ComputesDraftsBehindTheirToken) {
  Start(64);
  Sequence& sequence = Add(1);
  sequence.drafts = {8, 9};
  ASSERT_TRUE(Next());
  ASSERT_EQ(plan_.phase, Phase::kDecode);
  EXPECT_EQ(plan_.chunks[0].rows, 3);
  EXPECT_EQ(plan_.chunks[0].drafts, 2);
  // The second draft was wrong.
  sequence.tokens.insert(sequence.tokens.end(), {8, 7});
  plan_.chunks[0].rows = 2;
  scheduler_->Complete(plan_.chunks[0]);
  EXPECT_EQ(sequence.computed, 2);
  EXPECT_EQ(sequence.pending(), 1);
}

TEST_F(SchedulerTest, DraftsAreRowsOfTheMicroBatch) {
  Start(64, {.max_batch_rows = 4});
  for (int i = 0; i < 3; ++i) Add(1).drafts = {8, 9};
  ASSERT_TRUE(Next());
  EXPECT_EQ(Rows(), (RowList{{1, 2}, {2, 1}, {3, 1}})) << "tokens first, then drafts";
  EXPECT_EQ(plan_.chunks[0].drafts, 1);
  EXPECT_EQ(plan_.chunks[1].drafts, 0);
}

TEST_F(SchedulerTest, DraftsCountWhereDecodingIsSplit) {
  Start(64, {.split_rows = 2});
  Add(1).drafts = {8};
  Add(1).drafts = {8};
  ASSERT_TRUE(Next());
  EXPECT_EQ(Rows(), (RowList{{1, 2}}));
  ASSERT_TRUE(Next(Phase::kDecode));
  EXPECT_EQ(Rows(), (RowList{{2, 2}}));
}

// Two sequences that decode: with their next tokens the first is one position short of the end of
// its page, and the second begins a page.
class DraftPagesTest : public SchedulerTest {
 protected:
  void StartTwo(SchedulerOptions options) {
    Start(3, options);
    Add(14);
    Add(16);
    ASSERT_TRUE(Next());
    Complete();
    ASSERT_EQ(cache_->free_pages(), 1);
    sequences_[0]->drafts = {8, 9};
  }
};

TEST_F(DraftPagesTest, ATokenOfAYoungerSequenceComesFirst) {
  StartTwo({});
  ASSERT_TRUE(Next());
  EXPECT_EQ(Rows(), (RowList{{1, 2}, {2, 1}}));
  EXPECT_EQ(scheduler_->counters().preemptions, 0u);
}

TEST_F(DraftPagesTest, SoDoesOneOfTheOtherMicroBatch) {
  StartTwo({.split_rows = 1});
  ASSERT_TRUE(Next());
  EXPECT_EQ(Rows(), (RowList{{1, 2}}));
  ASSERT_TRUE(Next(Phase::kDecode));
  EXPECT_EQ(Rows(), (RowList{{2, 1}}));
  EXPECT_EQ(scheduler_->counters().preemptions, 0u);
}

TEST_F(DraftPagesTest, ThePageOfAWrongDraftGoesBack) {
  StartTwo({});
  scheduler_->Remove(*sequences_[1]);
  Sequence& sequence = *sequences_[0];
  for (const bool used : {false, true}) {
    sequence.drafts = {8, 9};
    ASSERT_TRUE(Next());
    ASSERT_EQ(Rows(), (RowList{{1, 3}}));
    EXPECT_EQ(cache_->used_pages(), 2);
    if (used) {
      sequence.tokens.push_back(5);  // both drafts were wrong
      plan_.chunks[0].rows = 1;
      scheduler_->Complete(plan_.chunks[0]);
    } else {
      scheduler_->Discard(plan_.chunks[0]);
    }
    EXPECT_EQ(cache_->used_pages(), 1);
  }
}

TEST_F(SchedulerTest, DraftsTakeFreePagesButNobodysPlace) {
  Start(3);
  Sequence& first = Add(15);
  Sequence& second = Add(1);
  ASSERT_TRUE(Next());
  Complete();
  ASSERT_TRUE(Next());
  Complete();
  ASSERT_EQ(first.pending(), 1);
  ASSERT_EQ(first.computed, 15);
  first.drafts = second.drafts = {8, 9};
  ASSERT_TRUE(Next());
  EXPECT_EQ(Rows(), (RowList{{1, 3}, {2, 3}})) << "the spare page is the first's";
  EXPECT_EQ(cache_->free_pages(), 0);
  for (const PlannedChunk& chunk : plan_.chunks) scheduler_->Discard(chunk);
  EXPECT_TRUE(first.drafts.empty()) << "what was not used is not known to be right";
  // With its page full, the second could only guess at the first's cost.
  second.tokens.resize(16, 7);
  second.computed = 15;
  first.drafts = second.drafts = {8, 9};
  ASSERT_TRUE(Next());
  EXPECT_EQ(Rows(), (RowList{{1, 3}, {2, 1}}));
  EXPECT_EQ(scheduler_->counters().preemptions, 0u);
}

TEST_F(SchedulerTest, DiscardedRowsAreComputedAgain) {
  Start(64);
  Add(20);
  ASSERT_TRUE(Next());
  scheduler_->Discard(plan_.chunks[0]);
  ASSERT_TRUE(Next());
  EXPECT_EQ(plan_.chunks[0].first_position, 0);
  EXPECT_EQ(plan_.chunks[0].rows, 20);
}

TEST_F(SchedulerTest, RemovalFreesPages) {
  Start(8);
  Sequence& sequence = Add(100);
  ASSERT_TRUE(Next());
  EXPECT_EQ(cache_->used_pages(), 7);
  Complete();
  scheduler_->Remove(sequence);
  EXPECT_EQ(cache_->used_pages(), 0);
}

// Whatever arrives, everything ends, in a cache far too small, over two micro-batches.
TEST_F(SchedulerTest, EverySequenceEndsUnderPressure) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    sequences_.clear();
    last_id_ = 0;
    Start(12, {.max_batch_rows = 40, .prefill_chunk = 24, .max_running = 6, .split_rows = 1});
    struct InFlight {
      bool busy = false;
      BatchPlan plan;
    } slots[2];
    std::vector<int64_t> goal;
    for (int i = 0; i < 30; ++i) {
      const int64_t tokens = 1 + random() % 90;
      Add(tokens, static_cast<int32_t>(random() % 2));
      goal.push_back(tokens + 1 + random() % 90);  // at most 180 of the 192 positions
    }
    size_t ended = 0;
    for (int step = 0; ended < sequences_.size(); ++step) {
      ASSERT_LT(step, 100000) << "no progress with seed " << seed;
      const int slot = static_cast<int>(random() % 2);
      InFlight &mine = slots[slot], &other = slots[1 - slot];
      if (!mine.busy) {
        mine.busy = scheduler_->Next(other.busy ? std::optional(other.plan.phase) : std::nullopt,
                                     mine.plan);
        continue;
      }
      mine.busy = false;
      for (const PlannedChunk& chunk : mine.plan.chunks) {
        Sequence& sequence = *chunk.sequence;
        scheduler_->Complete(chunk);
        if (sequence.pending() > 0) continue;
        if (std::ssize(sequence.tokens) == goal[sequence.id - 1]) {
          scheduler_->Remove(sequence);
          ++ended;
        } else {
          sequence.tokens.push_back(static_cast<int32_t>(random() % 1000));
        }
      }
    }
    EXPECT_EQ(cache_->used_pages(), 0);
  }
}

}  // namespace
}  // namespace switchyard::router
