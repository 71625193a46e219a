#pragma once

// One direction of a loopback channel: the sender's slots, the frames on their way, and the faults
// that hit them. Not thread-safe: the network's lock guards it; only the bytes of a slot are
// touched outside the lock, by whoever holds the slot.

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "services/base/clock.h"
#include "services/transport/aligned_bytes.h"
#include "services/transport/loopback_faults.h"
#include "services/transport/slot_image.h"

namespace switchyard::transport {

// A frame at the receiver's end.
struct Arrival {
  const std::byte* image = nullptr;  // in the sender's slot, or in `copy`
  size_t bytes = 0;
  std::shared_ptr<std::byte[]> copy;  // of a damaged or doubled frame
  std::optional<uint32_t> slot;       // to release when the receiver lets go
  TimePoint due;
  bool behind_next = false;  // held until another frame overtakes it
  bool announced = false;    // the receiver was woken for it
};

class LoopbackLink {
 public:
  LoopbackLink(const SlotLayout& layout, uint64_t seed);

  // A free slot; `credits_arrive` is false while the way back is cut, and then slots that the
  // receiver let go of meanwhile do not count.
  std::optional<uint32_t> Acquire(bool credits_arrive);
  void FreeUnsent(uint32_t slot) { free_.push_back(slot); }
  void Release(uint32_t slot) { returned_.push_back(slot); }

  std::byte* slot(uint32_t index) { return memory_.get() + index * slot_bytes_; }

  // Puts the finished image of a slot on its way, hit by such faults as the seed draws.
  void Post(uint32_t slot, size_t bytes, TimePoint now, const FaultRates& rates,
            FaultCounts& counts);

  std::optional<Arrival> Take(TimePoint now);

  // True when a frame became due that the receiver was not woken for yet.
  bool AnnounceDue(TimePoint now);
  std::optional<TimePoint> NextDue() const;

 private:
  bool Draw(double rate) { return rate > 0 && std::bernoulli_distribution(rate)(random_); }
  Arrival Copy(const Arrival& original);
  void Damage(Arrival& arrival, const FaultRates& rates, FaultCounts& counts);
  void ReleaseHeld(TimePoint now);

  size_t slot_bytes_;
  AlignedBytes memory_;
  std::vector<uint32_t> free_;
  std::vector<uint32_t> returned_;
  std::deque<Arrival> in_flight_;  // in the order in which they are looked at
  std::mt19937_64 random_;
};

}  // namespace switchyard::transport
