#pragma once

// The data-plane loop of an expert host: one thread that owns the transport, takes dispatches from
// every router worker, computes them in grouped batches and sends one row per assignment back. It
// holds no request state: a result depends on the frame alone, so a frame may come twice.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "expert_service/expert_store.h"
#include "kernels/base/numerics.h"
#include "kernels/device/device.h"
#include "services/base/clock.h"
#include "services/transport/transport.h"

namespace switchyard::expert {

using TransportFactory =
    std::function<absl::StatusOr<std::unique_ptr<transport::Transport>>(uint64_t incarnation)>;

struct ExpertLoopOptions {
  TransportFactory transport;
  uint64_t member = 0;
  uint64_t incarnation = 0;
  uint64_t model_digest = 0;
  uint64_t weights_version = 1;
  kernels::NumericsClass numerics = kernels::NumericsClass::kFp32;
  uint32_t hidden = 0;
  std::vector<uint32_t> experts_per_layer;  // by layer; 0 in dense layers
  uint32_t max_batch_assignments = 1024;
  const ExpertStore* store = nullptr;  // outlives the loop
  kernels::Device* device = nullptr;   // outlives the loop
  const Clock* clock = &Clock::Real();
};

// Counted since the start of the loop.
struct ExpertLoopCounters {
  uint64_t frames_done = 0;
  uint64_t rows_done = 0;
  uint64_t frames_refused = 0;
  uint64_t rejected_frames = 0;  // by the transport: damaged, or not what the peer may send
  uint64_t late_messages = 0;    // for channels that are gone
  Duration busy{};               // time spent in the FFN
  TimePoint last_batch{};        // when the last batch ended
  std::vector<std::vector<uint64_t>> expert_rows;  // [layer][expert]
  std::vector<std::string> lanes;                  // one per open channel
};

class ExpertLoop {
 public:
  static absl::StatusOr<std::unique_ptr<ExpertLoop>> Start(ExpertLoopOptions options);
  ~ExpertLoop();  // stops the thread; dispatches that wait are dropped, their senders re-send

  // Opens this side of a channel to a router worker and returns the address that the router worker
  // needs. A former channel of the same member is dropped. Any thread; waits for the loop at most
  // until `deadline` (DEADLINE_EXCEEDED).
  absl::StatusOr<transport::PeerAddress> OpenChannel(const transport::PeerAddress& router,
                                                     const transport::SlotLayout& layout,
                                                     uint64_t nonce, TimePoint deadline);

  // This host lost its lease and is a stranger now: drops all channels and everything that waits,
  // and starts a new transport under the new incarnation. While that fails it is tried again, and
  // OpenChannel answers UNAVAILABLE; the status is that of the first attempt. Any thread.
  absl::Status Reset(uint64_t incarnation, TimePoint deadline);

  // Any thread.
  ExpertLoopCounters Counters() const;

 private:
  struct State;
  explicit ExpertLoop(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::expert
