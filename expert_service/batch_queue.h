#pragma once

// Which waiting dispatches a host computes next. Decode goes before prefill, but prefill is never
// passed over more than a few times in a row, so neither starves.

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "services/base/clock.h"
#include "services/transport/transport.h"

namespace switchyard::expert {

// A dispatch that passed every check and waits for its turn.
struct WaitingDispatch {
  transport::Channel* channel = nullptr;
  std::unique_ptr<transport::ReceivedFrame> frame;
  std::unique_ptr<transport::SendSlot> reply;  // acquired when it is taken up
  uint32_t assignments = 0;
  TimePoint expires{};
};

class BatchQueue {
 public:
  // `max_assignments` bounds one batch, so that decode never waits behind a long prefill. A single
  // larger dispatch is still taken, alone.
  explicit BatchQueue(uint32_t max_assignments) : max_assignments_(max_assignments) {}

  void Push(WaitingDispatch dispatch);

  bool empty() const { return decode_.empty() && prefill_.empty(); }

  // Moves the next batch into `batch` (cleared first): all of one phase, in order of arrival, only
  // dispatches whose channel has a free reply slot, which is acquired here. The others keep their
  // places. Empty when nothing can be answered now.
  void TakeBatch(std::vector<WaitingDispatch>& batch);

  // Removes what nobody waits for any more.
  std::vector<WaitingDispatch> TakeExpired(TimePoint now);

  // Forgets everything that came over a channel, before the channel is destroyed.
  void DropChannel(const transport::Channel* channel);

 private:
  // Prefill goes first after this many decode batches passed it over.
  static constexpr int kMostPassedOver = 4;

  void TakeFrom(std::deque<WaitingDispatch>& queue, std::vector<WaitingDispatch>& batch);

  uint32_t max_assignments_;
  int passed_over_ = 0;
  std::deque<WaitingDispatch> decode_;
  std::deque<WaitingDispatch> prefill_;
};

}  // namespace switchyard::expert
