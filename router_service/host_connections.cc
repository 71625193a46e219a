#include "router_service/host_connections.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/log.h"

namespace switchyard::router {
namespace {

// Between attempts to reach a host: the first, and the longest that it doubles to. A restarted host
// is a new incarnation and is tried at once.
constexpr Duration kRetryPause = std::chrono::milliseconds(100);
constexpr Duration kLongestRetryPause = std::chrono::seconds(2);
constexpr int kMostDoublings = 5;

uint64_t RandomNonce() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace

HostConnections::HostConnections(ChannelRequester request_channel, transport::SlotLayout layout,
                                 const Clock& clock, std::function<bool(uint64_t)> in_use,
                                 std::function<void()> wake)
    : request_channel_(std::move(request_channel)),
      layout_(layout),
      clock_(clock),
      in_use_(std::move(in_use)),
      wake_(std::move(wake)) {}

HostConnections::~HostConnections() {
  for (auto& [nonce, call] : calls_) call.join();
}

void HostConnections::Request(const Connection& connection) {
  calls_[connection.nonce] = std::thread(
      [this, host = connection.host, nonce = connection.nonce, router = transport_->address()] {
        Answer answer{host.id(), nonce, request_channel_(host, router, layout_, nonce)};
        {
          std::lock_guard lock(mutex_);
          answers_.push_back(std::move(answer));
        }
        wake_();
      });
}

void HostConnections::SetTransport(transport::Transport* transport) {
  for (auto& [member, connection] : connections_) Drop(connection);
  transport_ = transport;
}

void HostConnections::SetHosts(std::vector<v1::Member> hosts) {
  std::map<uint64_t, Connection> kept;
  for (v1::Member& host : hosts) {
    const auto found = connections_.find(host.id());
    if (found != connections_.end() && found->second.host.incarnation() == host.incarnation()) {
      found->second.leaving = false;
      kept.insert(connections_.extract(found));
    } else {
      kept[host.id()].host = std::move(host);
    }
  }
  for (auto& [member, connection] : connections_) {
    if (connection.stage == Stage::kOpen && !kept.contains(member) && in_use_(member)) {
      connection.leaving = true;
      kept[member] = std::move(connection);
    } else {
      Drop(connection);
    }
  }
  connections_ = std::move(kept);
}

void HostConnections::DropLeaving() {
  for (auto entry = connections_.begin(); entry != connections_.end();) {
    if (entry->second.leaving && (entry->second.stage != Stage::kOpen || !in_use_(entry->first))) {
      Drop(entry->second);
      entry = connections_.erase(entry);
    } else {
      ++entry;
    }
  }
}

void HostConnections::Drop(Connection& connection) {
  if (connection.stage == Stage::kOpen) lost_.push_back(connection.host.id());
  if (connection.channel != nullptr) rejected_before_ += connection.channel->rejected_frames();
  connection.channel.reset();
  connection.stage = Stage::kIdle;
  connection.next_attempt = {};
}

void HostConnections::RetryLater(Connection& connection) {
  Drop(connection);
  const Duration pause = kRetryPause * (1 << std::min(connection.failures, kMostDoublings));
  connection.next_attempt = clock_.Now() + std::min(pause, kLongestRetryPause);
  ++connection.failures;
}

bool HostConnections::Poll(std::vector<uint64_t>& lost) {
  DropLeaving();
  StartRequests();
  const bool answered = TakeAnswers();
  const bool changed = CheckChannels();
  lost = std::exchange(lost_, {});
  return answered || changed || !lost.empty();
}

void HostConnections::StartRequests() {
  const TimePoint now = clock_.Now();
  for (auto& [member, connection] : connections_) {
    if (connection.stage != Stage::kIdle || now < connection.next_attempt) continue;
    connection.stage = Stage::kRequesting;
    connection.nonce = RandomNonce();
    Request(connection);
  }
}

bool HostConnections::TakeAnswers() {
  std::deque<Answer> answers;
  {
    std::lock_guard lock(mutex_);
    answers.swap(answers_);
  }
  for (Answer& answer : answers) {
    calls_.extract(answer.nonce).mapped().join();
    const auto found = connections_.find(answer.member);
    // An answer to an attempt that was given up meanwhile.
    if (found == connections_.end() || found->second.nonce != answer.nonce) continue;
    if (found->second.stage == Stage::kRequesting) Take(found->second, std::move(answer));
  }
  return !answers.empty();
}

void HostConnections::Take(Connection& connection, Answer answer) {
  if (answer.host.ok() && (answer.host->member != connection.host.id() ||
                           answer.host->incarnation != connection.host.incarnation())) {
    answer.host = absl::UnavailableError(
        absl::StrCat("member ", answer.host->member, " incarnation ", answer.host->incarnation,
                     " answered, which is not the one of the placement"));
  }
  auto channel = answer.host.ok()
                     ? transport_->Open(*answer.host, layout_, answer.nonce)
                     : absl::StatusOr<std::unique_ptr<transport::Channel>>(answer.host.status());
  if (!channel.ok()) {
    LogWarning() << "no channel to " << connection.host.name() << ": "
                 << channel.status().message();
    return RetryLater(connection);
  }
  connection.channel = *std::move(channel);
  connection.stage = Stage::kOpening;
}

bool HostConnections::CheckChannels() {
  bool changed = false;
  for (auto& [member, connection] : connections_) {
    if (connection.channel == nullptr) continue;
    const transport::ChannelState state = connection.channel->state();
    if (state == transport::ChannelState::kLost) {
      LogWarning() << "channel to " << connection.host.name() << " is lost";
      RetryLater(connection);
      changed = true;
    } else if (state == transport::ChannelState::kOpen && connection.stage == Stage::kOpening) {
      connection.stage = Stage::kOpen;
      connection.failures = 0;
      LogInfo() << "channel to " << connection.host.name() << " over "
                << connection.channel->lane();
      changed = true;
    }
  }
  return changed;
}

transport::Channel* HostConnections::Find(uint64_t member) const {
  const auto found = connections_.find(member);
  if (found == connections_.end() || found->second.stage != Stage::kOpen) return nullptr;
  return found->second.channel.get();
}

uint64_t HostConnections::rejected_frames() const {
  uint64_t rejected = rejected_before_;
  for (const auto& [member, connection] : connections_) {
    if (connection.channel != nullptr) rejected += connection.channel->rejected_frames();
  }
  return rejected;
}

std::string HostConnections::NameOf(uint64_t member) const {
  const auto found = connections_.find(member);
  return found != connections_.end() ? found->second.host.name() : absl::StrCat("host ", member);
}

}  // namespace switchyard::router
