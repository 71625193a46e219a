#include "services/transport/loopback_link.h"

#include <algorithm>
#include <cstring>

namespace switchyard::transport {

LoopbackLink::LoopbackLink(const SlotLayout& layout, uint64_t seed)
    : slot_bytes_(SlotBytes(layout)),
      memory_(AllocateAligned(slot_bytes_ * layout.slots)),
      random_(seed) {
  for (uint32_t slot = layout.slots; slot-- > 0;) free_.push_back(slot);
}

std::optional<uint32_t> LoopbackLink::Acquire(bool credits_arrive) {
  if (credits_arrive) {
    free_.insert(free_.end(), returned_.begin(), returned_.end());
    returned_.clear();
  }
  if (free_.empty()) return std::nullopt;
  const uint32_t slot = free_.back();
  free_.pop_back();
  return slot;
}

Arrival LoopbackLink::Copy(const Arrival& original) {
  Arrival copy = original;
  copy.copy = AllocateAligned(std::max<size_t>(original.bytes, 1));
  std::memcpy(copy.copy.get(), original.image, original.bytes);
  copy.image = copy.copy.get();
  return copy;
}

void LoopbackLink::Damage(Arrival& arrival, const FaultRates& rates, FaultCounts& counts) {
  if (Draw(rates.truncate)) {
    arrival = Copy(arrival);
    arrival.bytes = std::uniform_int_distribution<size_t>(0, arrival.bytes - 1)(random_);
    ++counts.truncated;
  }
  if (arrival.bytes > 0 && Draw(rates.corrupt)) {
    arrival = Copy(arrival);
    const size_t bit = std::uniform_int_distribution<size_t>(0, arrival.bytes * 8 - 1)(random_);
    arrival.copy[bit / 8] ^= std::byte{1} << (bit % 8);
    ++counts.corrupted;
  }
}

void LoopbackLink::Post(uint32_t slot_index, size_t bytes, TimePoint now, const FaultRates& rates,
                        FaultCounts& counts) {
  if (Draw(rates.drop)) {
    ++counts.dropped;
    Release(slot_index);
    return;
  }
  Arrival arrival{.image = slot(slot_index), .bytes = bytes, .slot = slot_index, .due = now};
  if (Draw(rates.duplicate)) {
    Arrival second = Copy(arrival);
    second.slot.reset();
    in_flight_.push_back(std::move(second));
    ++counts.duplicated;
  }
  Damage(arrival, rates, counts);
  if (Draw(rates.delay)) {
    arrival.due = now + rates.delay_by;
    ++counts.delayed;
  }
  const bool overtaken = Draw(rates.reorder);
  if (overtaken) {
    arrival.due = now + rates.delay_by;
    arrival.behind_next = true;
    ++counts.reordered;
  }
  in_flight_.push_back(std::move(arrival));
  if (!overtaken) ReleaseHeld(now);
}

// Puts the frames that waited to be overtaken behind the newest one.
void LoopbackLink::ReleaseHeld(TimePoint now) {
  const auto held = std::stable_partition(in_flight_.begin(), in_flight_.end(),
                                          [](const Arrival& a) { return !a.behind_next; });
  for (auto arrival = held; arrival != in_flight_.end(); ++arrival) {
    arrival->behind_next = false;
    arrival->due = now;
  }
}

std::optional<Arrival> LoopbackLink::Take(TimePoint now) {
  const auto due = std::find_if(in_flight_.begin(), in_flight_.end(),
                                [now](const Arrival& a) { return a.due <= now; });
  if (due == in_flight_.end()) return std::nullopt;
  Arrival arrival = std::move(*due);
  in_flight_.erase(due);
  return arrival;
}

bool LoopbackLink::AnnounceDue(TimePoint now) {
  bool announced = false;
  for (Arrival& arrival : in_flight_) {
    if (arrival.announced || arrival.due > now) continue;
    arrival.announced = true;
    announced = true;
  }
  return announced;
}

std::optional<TimePoint> LoopbackLink::NextDue() const {
  std::optional<TimePoint> next;
  for (const Arrival& arrival : in_flight_) {
    if (!arrival.announced && (!next || arrival.due < *next)) next = arrival.due;
  }
  return next;
}

}  // namespace switchyard::transport
