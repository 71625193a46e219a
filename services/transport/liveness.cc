#include "services/transport/liveness.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/base/unique_fd.h"
#include "services/transport/little_endian.h"
#include "services/transport/liveness_connection.h"
#include "services/transport/tcp_socket.h"

namespace switchyard::transport {
namespace {

using Kind = LivenessEvent::Kind;

// Connections whose peer we have not opened a channel to (yet).
constexpr size_t kMaxStrangers = 1024;

// The listener is left alone for this long after it could not accept (no descriptors left): it
// would be readable all the while.
constexpr Duration kAcceptPause = std::chrono::milliseconds(100);

std::string Describe(const Introduction& mine) {
  return absl::StrCat("member ", mine.peer_member, " incarnation ", mine.peer_incarnation);
}

// One channel of ours.
struct Link {
  Introduction mine;
  std::string address;  // the peer's
  std::shared_ptr<std::atomic<bool>> lost;
  TimePoint opened_at;
  std::optional<LivenessConnection> connection;
  bool introduced = false;
  bool ready = false;    // the peer has set the channel up
  absl::Status refusal;  // why the peer that introduced itself is not admitted
  TimePoint last_heard;
  uint64_t beats = 0;

  // Of two peers the lower one connects, so that there is one connection.
  bool Connects() const {
    return std::pair(mine.member, mine.incarnation) <
           std::pair(mine.peer_member, mine.peer_incarnation);
  }
};

// A connection that somebody made to us, until one of our channels claims it.
struct Stranger {
  LivenessConnection connection;
  TimePoint since;
  std::optional<Introduction> introduction;
};

class LivenessThread : public Liveness {
 public:
  LivenessThread(Options options, UniqueFd listener, UniqueFd wake, std::string address)
      : options_(std::move(options)),
        listener_(std::move(listener)),
        wake_(std::move(wake)),
        address_(std::move(address)),
        thread_([this] { Run(); }) {}

  ~LivenessThread() override {
    Command([this] { stopping_ = true; });
    thread_.join();
  }

  const std::string& address() const override { return address_; }

  void Open(const Introduction& mine, const std::string& address,
            std::shared_ptr<std::atomic<bool>> lost) override {
    Command([this, mine, address, lost = std::move(lost)] {
      Link& link = links_[mine.channel_id];
      link = {.mine = mine, .address = address, .lost = lost, .opened_at = now_};
      if (link.Connects()) Connect(link);
    });
  }
  void SendReady(uint64_t channel_id, bool mapped) override {
    Command([this, channel_id, mapped] {
      const auto link = links_.find(channel_id);
      if (link == links_.end() || !link->second.connection) return;
      link->second.connection->Post(LivenessMessage::kReady, mapped ? "\1" : std::string(1, '\0'));
    });
  }
  void Close(uint64_t channel_id) override {
    Command([this, channel_id] { links_.erase(channel_id); });
  }
  std::vector<LivenessEvent> TakeEvents() override {
    std::lock_guard lock(mutex_);
    return std::exchange(events_, {});
  }

 private:
  // Runs something on the thread.
  void Command(std::function<void()> command) {
    {
      std::lock_guard lock(mutex_);
      commands_.push_back(std::move(command));
    }
    eventfd_write(wake_.get(), 1);
  }

  void Run();
  void Sleep();
  void RunCommands();
  void ForgiveStall(Duration slept);
  void Tick();
  void AcceptStrangers();
  void ServeStrangers();
  void ServeLinks();
  void Connect(Link& link);
  bool Serve(Link& link);
  bool ServeMessage(Link& link, const LivenessConnection::Message& message);
  absl::Status WhyLost(const Link& link) const;
  bool Claim(Stranger& stranger);
  void Introduce(Link& link, const Introduction& theirs);
  void Announce(LivenessEvent event);

  const Options options_;
  const UniqueFd listener_;
  const UniqueFd wake_;
  const std::string address_;

  std::mutex mutex_;
  std::vector<std::function<void()>> commands_;
  std::vector<LivenessEvent> events_;

  // Of the thread alone.
  bool stopping_ = false;
  TimePoint now_;
  TimePoint next_tick_;
  TimePoint next_accept_;           // not before
  std::map<uint64_t, Link> links_;  // by channel id
  std::list<Stranger> strangers_;

  std::thread thread_;  // last: it uses the rest
};

void LivenessThread::Run() {
  now_ = next_tick_ = options_.clock->Now();
  while (true) {
    RunCommands();
    if (stopping_) return;
    AcceptStrangers();
    ServeStrangers();
    ServeLinks();
    if (now_ >= next_tick_) Tick();
    Sleep();
    const TimePoint before = std::exchange(now_, options_.clock->Now());
    ForgiveStall(now_ - before);
  }
}

// Time in which this thread did not run says nothing about the peers.
void LivenessThread::ForgiveStall(Duration slept) {
  if (slept < 2 * options_.period) return;
  for (auto& [id, link] : links_) link.last_heard += slept - options_.period;
}

void LivenessThread::RunCommands() {
  std::vector<std::function<void()>> commands;
  {
    std::lock_guard lock(mutex_);
    commands.swap(commands_);
  }
  for (const auto& command : commands) command();
}

void LivenessThread::Sleep() {
  const bool accepts = now_ >= next_accept_;
  std::vector<pollfd> waits = {{.fd = wake_.get(), .events = POLLIN},
                               {.fd = accepts ? listener_.get() : -1, .events = POLLIN}};
  const auto wait_for = [&waits](const LivenessConnection& connection) {
    const short events = POLLIN | (connection.wants_to_write() ? POLLOUT : 0);
    waits.push_back({.fd = connection.fd(), .events = events});
  };
  for (const Stranger& stranger : strangers_) wait_for(stranger.connection);
  for (const auto& [id, link] : links_) {
    if (link.connection) wait_for(*link.connection);
  }
  const bool idle = links_.empty() && strangers_.empty() && accepts;
  const Duration left = std::max(next_tick_ - now_, Duration::zero());
  const timespec timeout = {.tv_sec = left.count() / 1'000'000'000,
                            .tv_nsec = left.count() % 1'000'000'000};
  ppoll(waits.data(), waits.size(), idle ? nullptr : &timeout, nullptr);
  eventfd_t ignored;
  if (waits[0].revents != 0) eventfd_read(wake_.get(), &ignored);
}

void LivenessThread::AcceptStrangers() {
  while (now_ >= next_accept_) {
    UniqueFd socket = AcceptTcp(listener_);
    if (!socket.valid()) {
      if (errno != EAGAIN && errno != EWOULDBLOCK) next_accept_ = now_ + kAcceptPause;
      return;
    }
    if (strangers_.size() == kMaxStrangers) strangers_.pop_front();
    strangers_.push_back({.connection = LivenessConnection(std::move(socket)), .since = now_});
  }
}

void LivenessThread::ServeStrangers() {
  std::erase_if(strangers_, [this](Stranger& stranger) {
    bool heard = false;
    if (!stranger.connection.Exchange(heard)) return true;
    if (!stranger.introduction) {
      const auto message = stranger.connection.Take();
      if (!message) return now_ - stranger.since > options_.open_timeout;
      auto introduction = DecodeIntroduction(message->body);
      if (message->type != LivenessMessage::kIntroduction || !introduction.ok()) return true;
      stranger.introduction = *std::move(introduction);
    }
    // A peer says nothing more before it is answered; unread, it would wake this thread for ever.
    if (stranger.connection.has_unread()) return true;
    return Claim(stranger) || now_ - stranger.since > options_.open_timeout;
  });
}

// Gives the connection to the channel that its introduction names, if it was opened here by now.
bool LivenessThread::Claim(Stranger& stranger) {
  for (auto& [id, link] : links_) {
    if (link.Connects() || link.connection ||
        CheckAnswer(link.mine, *stranger.introduction).code() ==
            absl::StatusCode::kPermissionDenied) {
      continue;
    }
    link.connection.emplace(std::move(stranger.connection));
    link.connection->Post(LivenessMessage::kIntroduction, EncodeIntroduction(link.mine));
    Introduce(link, *stranger.introduction);
    return true;
  }
  return false;
}

// The peer has spoken. It is admitted, or lost when the link is served next, after our own
// introduction has told it why.
void LivenessThread::Introduce(Link& link, const Introduction& theirs) {
  link.last_heard = now_;
  link.introduced = true;
  link.refusal = CheckAnswer(link.mine, theirs);
  if (!link.refusal.ok()) return;
  Announce({.channel_id = link.mine.channel_id, .kind = Kind::kIntroduced, .peer = theirs});
}

void LivenessThread::ServeLinks() {
  for (auto entry = links_.begin(); entry != links_.end();) {
    Link& link = entry->second;
    if (Serve(link)) {
      ++entry;
      continue;
    }
    link.lost->store(true);
    Announce({.channel_id = entry->first, .kind = Kind::kLost, .why = WhyLost(link)});
    entry = links_.erase(entry);
  }
}

// One that fails is tried again at the next tick.
void LivenessThread::Connect(Link& link) {
  auto socket = ConnectTcp(link.address);
  if (!socket.ok()) return;
  link.connection.emplace(*std::move(socket));
  link.connection->Post(LivenessMessage::kIntroduction, EncodeIntroduction(link.mine));
}

// False when the channel is lost.
bool LivenessThread::Serve(Link& link) {
  if (!link.ready && now_ - link.opened_at > options_.open_timeout) return false;
  if (!link.connection) return true;
  bool heard = false;
  const bool connected = link.connection->Exchange(heard);
  if (heard) link.last_heard = now_;
  while (const auto message = link.connection->Take()) {
    if (!ServeMessage(link, *message)) return false;
  }
  if (!link.refusal.ok()) return false;
  if (connected) return !link.introduced || now_ - link.last_heard <= options_.lost_after;
  if (link.introduced) return false;
  link.connection.reset();  // nobody listens there yet, or it would not talk to us: try again
  return true;
}

bool LivenessThread::ServeMessage(Link& link, const LivenessConnection::Message& message) {
  switch (message.type) {
    case LivenessMessage::kIntroduction: {
      auto theirs = DecodeIntroduction(message.body);
      if (!theirs.ok()) link.refusal = theirs.status();
      if (!theirs.ok() || link.introduced) return false;
      Introduce(link, *theirs);
      return true;
    }
    case LivenessMessage::kReady:
      if (!link.introduced || message.body.size() != 1) return false;
      link.ready = true;
      Announce({.channel_id = link.mine.channel_id,
                .kind = Kind::kReady,
                .mapped = message.body[0] == 1});
      return true;
    case LivenessMessage::kBeat:
      return link.introduced && message.body.size() == sizeof(uint64_t);
  }
  return false;
}

absl::Status LivenessThread::WhyLost(const Link& link) const {
  if (!link.refusal.ok()) return link.refusal;
  const std::string who = Describe(link.mine);
  if (!link.introduced) {
    return absl::DeadlineExceededError(
        absl::StrCat("open: ", who, " at ", link.address,
                     " did not present the channel's nonce in time; is it up and reachable, and "
                     "does it open the same channel?"));
  }
  if (!link.ready && now_ - link.opened_at > options_.open_timeout) {
    return absl::DeadlineExceededError(
        absl::StrCat("open: ", who, " at ", link.address, " did not set the channel up in time"));
  }
  if (now_ - link.last_heard > options_.lost_after) {
    return absl::UnavailableError(absl::StrCat(who, " has been silent for ",
                                               options_.lost_after / std::chrono::milliseconds(1),
                                               " ms: it is stopped or cut off"));
  }
  return absl::UnavailableError(absl::StrCat(who, " ended the channel or its process died"));
}

void LivenessThread::Tick() {
  next_tick_ = now_ + options_.period;
  for (auto& [id, link] : links_) {
    if (!link.connection) {
      if (link.Connects()) Connect(link);
      continue;
    }
    if (!link.introduced) continue;
    std::byte counter[sizeof(uint64_t)];
    StoreLittleEndian(counter, ++link.beats);
    link.connection->Post(LivenessMessage::kBeat,
                          {reinterpret_cast<const char*>(counter), sizeof(counter)});
  }
}

void LivenessThread::Announce(LivenessEvent event) {
  {
    std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }
  options_.notify();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Liveness>> Liveness::Start(Options options) {
  ASSIGN_OR_RETURN(UniqueFd listener, ListenTcp(options.host, 0));
  ASSIGN_OR_RETURN(std::string address, BoundAddress(listener));
  UniqueFd wake(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wake.valid()) {
    return absl::ResourceExhaustedError(absl::StrCat("liveness: eventfd: ", strerror(errno)));
  }
  return std::make_unique<LivenessThread>(std::move(options), std::move(listener), std::move(wake),
                                          std::move(address));
}

}  // namespace switchyard::transport
