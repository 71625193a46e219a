#pragma once

// Who is there. Each transport has one thread that never computes; for each channel it keeps a TCP
// connection to the peer's, over which the two introduce themselves and then count, every `period`.
// A connection that ends (a killed process: within microseconds) or falls silent for `lost_after`
// (stopped, cut off) means that the peer is lost. The data itself goes elsewhere.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/base/clock.h"
#include "services/transport/introduction.h"

namespace switchyard::transport {

struct LivenessEvent {
  enum class Kind {
    kIntroduced,  // the peer is admitted; `peer` is what it said
    kReady,  // the peer has set the channel up; `mapped` says whether our slots are mapped there
    kLost,   // no more events follow; `why` says what happened
  };
  uint64_t channel_id = 0;
  Kind kind = Kind::kLost;
  Introduction peer;
  bool mapped = false;
  absl::Status why;
};

// Thread-safe.
class Liveness {
 public:
  struct Options {
    std::string host = "127.0.0.1";  // numeric; where to listen, and how peers reach it
    Duration period = std::chrono::milliseconds(50);
    Duration lost_after = std::chrono::milliseconds(500);
    Duration open_timeout = std::chrono::seconds(5);
    const Clock* clock = &Clock::Real();
    std::function<void()> notify;  // called from the thread when there are events
  };

  // Listens and starts the thread.
  static absl::StatusOr<std::unique_ptr<Liveness>> Start(Options options);
  virtual ~Liveness() = default;  // closes every connection

  virtual const std::string& address() const = 0;  // host:port

  // Seeks out (or awaits, the one with the lower identity connects) the peer at `address`, and
  // exchanges introductions. Events name mine.channel_id; `lost` is set when the peer is lost.
  virtual void Open(const Introduction& mine, const std::string& address,
                    std::shared_ptr<std::atomic<bool>> lost) = 0;

  // Tells the peer that the channel is set up here.
  virtual void SendReady(uint64_t channel_id, bool mapped) = 0;

  // Closes the channel's connection, which the peer sees as a loss.
  virtual void Close(uint64_t channel_id) = 0;

  virtual std::vector<LivenessEvent> TakeEvents() = 0;
};

}  // namespace switchyard::transport
