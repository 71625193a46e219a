#pragma once

// Keeps a data channel open to every expert host of the current placement: asks the host over gRPC
// from a thread for each call, so that one that does not answer holds up nobody else, opens this
// side on the engine's thread, and tries again, ever more seldom, when a host cannot be reached or
// a channel is lost.
//
// Threads: the engine's thread calls everything; `wake` is called from the calling threads.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/cluster.pb.h"
#include "services/base/clock.h"
#include "services/transport/transport.h"

namespace switchyard::router {

// Asks the host's control service for a channel and returns the host's data address. Has a deadline
// of its own.
using ChannelRequester = std::function<absl::StatusOr<transport::PeerAddress>(
    const v1::Member& host, const transport::PeerAddress& router,
    const transport::SlotLayout& layout, uint64_t nonce)>;

class HostConnections {
 public:
  // `in_use` tells whether rows of a member are still awaited.
  HostConnections(ChannelRequester request_channel, transport::SlotLayout layout,
                  const Clock& clock, std::function<bool(uint64_t member)> in_use,
                  std::function<void()> wake);
  ~HostConnections();

  // The transport that channels are opened on. All former channels are gone; outlives this object
  // or the next call.
  void SetTransport(transport::Transport* transport);

  // The hosts to be connected to. The channel to a host that is not among them any more is dropped
  // as soon as it is not in use; that of another incarnation of a host at once.
  void SetHosts(std::vector<v1::Member> hosts);

  // Takes up finished connections, drops lost channels. `lost` receives the members whose channels
  // are gone since the last call, for whatever reason. True when a channel opened or was lost.
  bool Poll(std::vector<uint64_t>& lost);

  // By the transport, over all channels so far.
  uint64_t rejected_frames() const;

  // nullptr unless the channel to this member is open.
  transport::Channel* Find(uint64_t member) const;

  // Calls visit(member, channel) for each open channel.
  template <typename Visitor>
  void ForEachOpen(Visitor&& visit) const {
    for (const auto& [member, connection] : connections_) {
      if (connection.stage == Stage::kOpen) visit(member, *connection.channel);
    }
  }

  // Name for messages; the id when it is unknown.
  std::string NameOf(uint64_t member) const;

 private:
  enum class Stage { kIdle, kRequesting, kOpening, kOpen };
  struct Connection {
    v1::Member host;
    Stage stage = Stage::kIdle;
    uint64_t nonce = 0;
    TimePoint next_attempt{};
    int failures = 0;      // attempts since a channel was open
    bool leaving = false;  // not among the hosts any more, but in use
    std::unique_ptr<transport::Channel> channel;
  };
  struct Answer {
    uint64_t member = 0;
    uint64_t nonce = 0;
    absl::StatusOr<transport::PeerAddress> host;
  };

  void Request(const Connection& connection);
  void StartRequests();
  bool TakeAnswers();
  bool CheckChannels();
  void DropLeaving();
  void Take(Connection& connection, Answer answer);
  void Drop(Connection& connection);
  void RetryLater(Connection& connection);

  const ChannelRequester request_channel_;
  const transport::SlotLayout layout_;
  const Clock& clock_;
  const std::function<bool(uint64_t)> in_use_;
  const std::function<void()> wake_;

  transport::Transport* transport_ = nullptr;
  std::map<uint64_t, Connection> connections_;
  std::vector<uint64_t> lost_;
  uint64_t rejected_before_ = 0;  // on channels that are gone

  std::map<uint64_t, std::thread> calls_;  // by nonce; each ends with an answer
  std::mutex mutex_;
  std::deque<Answer> answers_;
};

}  // namespace switchyard::router
