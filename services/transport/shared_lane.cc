#include "services/transport/shared_lane.h"

#include <bit>
#include <cstring>
#include <utility>

namespace switchyard::transport {
namespace {

constexpr uint64_t Entry(uint64_t number, uint32_t slot) { return number << 8 | slot; }

// The slot of entry `number` of a ring of doorbells or credits, once it is there.
//
// Entries and the asleep flag are loaded and stored in one total order: a side says that it sleeps
// before it looks for entries for the last time, the other side writes an entry before it looks at
// the flag, so one of them sees the other.
std::optional<uint32_t> Next(std::atomic_ref<uint64_t> entry, uint64_t number) {
  const uint64_t value = entry.load();
  if (value >> 8 != number) return std::nullopt;
  return static_cast<uint32_t>(value & 0xFF);
}

class SharedLane : public Lane {
 public:
  SharedLane(const SlotLayout& layout, SharedRegion mine, SharedRegion theirs,
             std::function<void()> ring)
      : layout_(layout),
        mine_(mine),
        theirs_(theirs),
        ring_(std::move(ring)),
        free_(layout.slots == kMaxSlots ? ~SlotSet{0} : SlotBit(layout.slots) - 1) {}

  std::optional<uint32_t> Acquire() override;
  void FreeUnsent(uint32_t slot) override { free_ |= SlotBit(slot); }
  absl::Status Post(uint32_t slot, const FrameHeader& header) override;
  std::optional<HeldImage> Take() override;
  void Release(const HeldImage& image) override;
  bool HasNews() override;
  void BeforeSleep() override { mine_.asleep().store(1); }
  void AfterSleep() override { mine_.asleep().store(0, std::memory_order_relaxed); }
  uint64_t rejected() const override { return rejected_; }
  std::string name() const override { return "posix"; }

 private:
  void TakeCredits();
  void RingIfAsleep();

  const SlotLayout layout_;
  const SharedRegion mine_;
  const SharedRegion theirs_;
  const std::function<void()> ring_;
  SlotSet free_;        // ours to fill
  SlotSet posted_ = 0;  // at the peer
  SlotSet held_ = 0;    // the peer's, here
  uint64_t doorbells_written_ = 0;
  uint64_t doorbells_read_ = 0;
  uint64_t credits_written_ = 0;
  uint64_t credits_read_ = 0;
  uint64_t news_told_ = 0;  // doorbells and credits that HasNews told of
  uint64_t rejected_ = 0;
};

void SharedLane::TakeCredits() {
  while (const auto slot = Next(theirs_.credit(credits_read_ + 1), credits_read_ + 1)) {
    ++credits_read_;
    if (*slot >= layout_.slots || (posted_ & SlotBit(*slot)) == 0) {
      ++rejected_;
      continue;
    }
    posted_ &= ~SlotBit(*slot);
    free_ |= SlotBit(*slot);
  }
}

std::optional<uint32_t> SharedLane::Acquire() {
  TakeCredits();
  if (free_ == 0) return std::nullopt;
  const auto slot = static_cast<uint32_t>(std::countr_zero(free_));
  free_ &= ~SlotBit(slot);
  return slot;
}

absl::Status SharedLane::Post(uint32_t slot, const FrameHeader&) {
  posted_ |= SlotBit(slot);
  ++doorbells_written_;
  mine_.doorbell(doorbells_written_).store(Entry(doorbells_written_, slot));
  RingIfAsleep();
  return absl::OkStatus();
}

void SharedLane::RingIfAsleep() {
  if (theirs_.asleep().load() != 0) ring_();
}

std::optional<HeldImage> SharedLane::Take() {
  while (const auto slot = Next(theirs_.doorbell(doorbells_read_ + 1), doorbells_read_ + 1)) {
    ++doorbells_read_;
    if (*slot >= layout_.slots || (held_ & SlotBit(*slot)) != 0) {
      ++rejected_;
      continue;
    }
    held_ |= SlotBit(*slot);
    HeldImage image{.slot = *slot, .body = theirs_.slot(*slot) + kHeaderBytes};
    std::memcpy(image.header.data(), theirs_.slot(*slot), kHeaderBytes);
    return image;
  }
  return std::nullopt;
}

void SharedLane::Release(const HeldImage& image) {
  held_ &= ~SlotBit(image.slot);
  ++credits_written_;
  mine_.credit(credits_written_).store(Entry(credits_written_, image.slot));
  RingIfAsleep();
}

bool SharedLane::HasNews() {
  TakeCredits();
  // What is there but not taken is news once: counted up to the next doorbell.
  uint64_t there = doorbells_read_;
  while (there < doorbells_read_ + layout_.slots && Next(theirs_.doorbell(there + 1), there + 1)) {
    ++there;
  }
  return std::exchange(news_told_, there + credits_read_) != there + credits_read_;
}

}  // namespace

std::unique_ptr<Lane> MakeSharedLane(const SlotLayout& layout, SharedRegion mine,
                                     SharedRegion theirs, std::function<void()> ring) {
  return std::make_unique<SharedLane>(layout, mine, theirs, std::move(ring));
}

}  // namespace switchyard::transport
