#pragma once

// Expert dispatch over the Transport. Chooses an owner for every assignment of a layer, sends each
// host one row per token, gathers one row per assignment, and when a host is lost or refuses sends
// only what is missing to another owner. A returned frame counts iff its (router incarnation,
// batch, layer, micro-batch, attempt, part) is outstanding at the host it came from, so duplicates
// and late frames are harmless.
//
// Threads: the engine's thread calls everything but Wake, SetPlacement, Reset and the two reports.

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/base/numerics.h"
#include "router_service/expert_dispatcher.h"
#include "router_service/host_connections.h"
#include "services/base/clock.h"
#include "services/runtime/placement_view.h"
#include "services/transport/transport.h"

namespace switchyard::router {

using TransportFactory =
    std::function<absl::StatusOr<std::unique_ptr<transport::Transport>>(uint64_t incarnation)>;

struct RemoteDispatcherOptions {
  TransportFactory transport;
  ChannelRequester request_channel;
  uint64_t member = 0;
  uint64_t incarnation = 0;
  uint64_t model_digest = 0;
  uint64_t weights_version = 1;
  kernels::NumericsClass numerics = kernels::NumericsClass::kFp32;
  uint32_t hidden = 0;
  uint32_t top_k = 1;  // most experts of a row
  // Readiness asks for the experts of layers below this only: a prediction block that nobody uses
  // is behind it.
  uint32_t needed_layers = std::numeric_limits<uint32_t>::max();
  uint32_t slot_assignments = 512;  // most assignments, and rows, of one frame
  uint32_t slots = 8;               // of one channel, each way
  // A frame without an answer is sent again after this: it was damaged on the way. Long, because a
  // host that is only slow would have to do the work twice; an answer to the first still counts.
  Duration resend_after = std::chrono::seconds(10);
  const Clock* clock = &Clock::Real();
};

struct DispatchCounters {
  uint64_t frames = 0;
  uint64_t redispatched_assignments = 0;
  uint64_t hosts_lost = 0;
  uint64_t stale_frames = 0;       // arrived but not outstanding
  uint64_t rejected_frames = 0;    // by the transport: damaged, or not what the peer may send
  uint64_t late_messages = 0;      // for channels that are gone
  std::vector<std::string> lanes;  // one per connected host
};

class RemoteDispatcher : public ExpertDispatcher {
 public:
  static absl::StatusOr<std::unique_ptr<RemoteDispatcher>> Start(RemoteDispatcherOptions options);
  ~RemoteDispatcher() override;

  void Begin(const DispatchRequest& request) override;
  bool Finished(uint32_t micro_batch, absl::Status* status) override;
  DispatchResult Result(uint32_t micro_batch) override;
  void Abandon(uint32_t micro_batch) override;
  void Wait(TimePoint deadline) override;
  void Poll() override;
  void Wake() override;

  // A new epoch; taken up at the next Poll. Any thread.
  void SetPlacement(std::shared_ptr<const runtime::PlacementView> placement);

  // This router worker is a stranger now: at the next Poll it takes a new transport under the new
  // incarnation and re-sends all that is outstanding. Any thread.
  void Reset(uint64_t incarnation);

  // Any thread. Epoch: the oldest placement that a micro-batch in flight was sent under, else the
  // current one. Ready: every expert of every MoE layer has a connected owner.
  DispatchCounters Counters() const;
  uint64_t OldestEpochInUse() const;
  bool Ready() const;

 private:
  struct State;
  explicit RemoteDispatcher(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::router
