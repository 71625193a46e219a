#include "services/transport/loopback.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/transport/loopback_link.h"
#include "services/transport/slot_image.h"

namespace switchyard::transport {
namespace {

using Identity = std::pair<uint64_t, uint64_t>;  // member, incarnation

std::string Describe(const Identity& identity) {
  return absl::StrCat("member ", identity.first, " incarnation ", identity.second);
}

class LoopbackChannel;

// What the network knows of one transport.
struct Endpoint {
  Identity identity;
  std::condition_variable event;
  uint64_t events = 0;       // things that happened
  uint64_t events_seen = 0;  // of them, when Progress or Wait last returned
  bool killed = false;
  std::vector<LoopbackChannel*> channels;

  void Announce() {
    ++events;
    event.notify_all();
  }
};

// One side's part of a connection. `closed` is set when it was destroyed, lost or killed.
struct End {
  std::shared_ptr<Endpoint> endpoint;
  std::unique_ptr<LoopbackLink> outgoing;
  bool closed = false;
};

// Two transports that named each other with one nonce. The first side waits alone in `waiting`.
struct Connection {
  std::array<End, 2> ends;
  SlotLayout layout;
  bool matched = false;
  bool layouts_differ = false;
  TimePoint matched_at;
};

using ConnectionKey = std::pair<std::pair<Identity, Identity>, uint64_t>;  // lower, higher; nonce

ConnectionKey KeyOf(const Identity& a, const Identity& b, uint64_t nonce) {
  return {std::minmax(a, b), nonce};
}

}  // namespace

// Everything that transports of one network share. The mutex guards it all, links included.
struct LoopbackHub {
  explicit LoopbackHub(const LoopbackNetwork::Options& options) : options(options) {}

  bool Reaches(uint64_t from, uint64_t to) const { return !cut_since.contains({from, to}); }
  bool ClockIsReal() const { return options.clock == &Clock::Real(); }
  void AnnounceToAll() {
    for (const auto& endpoint : endpoints) endpoint->Announce();
  }

  const LoopbackNetwork::Options options;
  mutable std::mutex mutex;
  FaultRates rates;
  FaultCounts counts;
  std::set<std::shared_ptr<Endpoint>> endpoints;
  std::map<ConnectionKey, std::shared_ptr<Connection>> waiting;
  std::map<std::pair<uint64_t, uint64_t>, TimePoint> cut_since;  // from, to
};

namespace {

class LoopbackChannel : public Channel {
 public:
  LoopbackChannel(std::shared_ptr<LoopbackHub> hub, std::shared_ptr<Connection> connection,
                  int side, const PeerAddress& peer, const SlotLayout& layout, uint64_t nonce)
      : hub_(std::move(hub)),
        connection_(std::move(connection)),
        side_(side),
        peer_(peer),
        layout_(layout),
        nonce_(nonce),
        opened_at_(hub_->options.clock->Now()),
        rules_{.layout = layout,
               .sender = peer.member,
               .sender_incarnation = peer.incarnation,
               .checksum = true} {}
  ~LoopbackChannel() override;

  const PeerAddress& peer() const override { return peer_; }
  const SlotLayout& layout() const override { return layout_; }
  ChannelState state() const override;
  absl::Status status() const override;
  bool lost() const override;
  std::unique_ptr<SendSlot> TryAcquire() override;
  absl::Status Send(std::unique_ptr<SendSlot> slot, const FrameHeader& header) override;
  std::unique_ptr<ReceivedFrame> TryReceive() override;
  uint64_t rejected_frames() const override { return rejected_; }
  std::string lane() const override { return "loopback"; }

  // The hub's mutex is held for all of these.
  void FreeUnsent(uint32_t slot) { mine().outgoing->FreeUnsent(slot); }
  void ReturnCredit(std::optional<uint32_t> slot);
  bool Update(TimePoint now);  // true when something happened
  std::optional<TimePoint> NextTimer() const;

  LoopbackHub& hub() const { return *hub_; }

 private:
  End& mine() const { return connection_->ends[side_]; }
  End& theirs() const { return connection_->ends[1 - side_]; }
  bool Incoming() const { return hub_->Reaches(peer_.member, Self().first); }
  Identity Self() const { return mine().endpoint->identity; }
  absl::Status WhyLost(TimePoint now) const;
  void Refresh(TimePoint now) const;
  void Lose(absl::Status why) const;

  const std::shared_ptr<LoopbackHub> hub_;
  const std::shared_ptr<Connection> connection_;
  const int side_;
  const PeerAddress peer_;
  const SlotLayout layout_;
  const uint64_t nonce_;
  const TimePoint opened_at_;
  const ArrivalRules rules_;
  mutable ChannelState state_ = ChannelState::kOpening;
  mutable absl::Status status_;
  uint64_t rejected_ = 0;
};

class LoopbackSendSlot : public SendSlot {
 public:
  LoopbackSendSlot(LoopbackChannel& channel, uint32_t index, std::byte* bytes)
      : channel_(channel), index_(index), bytes_(bytes) {}
  ~LoopbackSendSlot() override {
    if (sent_) return;
    std::lock_guard lock(channel_.hub().mutex);
    channel_.FreeUnsent(index_);
  }
  std::span<std::byte> metadata() override { return SendMetadata(bytes_, channel_.layout()); }
  std::span<std::byte> payload() override { return SendPayload(bytes_, channel_.layout()); }

  uint32_t index() const { return index_; }
  std::byte* bytes() { return bytes_; }
  void MarkSent() { sent_ = true; }

 private:
  LoopbackChannel& channel_;
  const uint32_t index_;
  std::byte* const bytes_;
  bool sent_ = false;
};

class LoopbackFrame : public ReceivedFrame {
 public:
  LoopbackFrame(LoopbackChannel& channel, Arrival arrival, const FrameHeader& header)
      : channel_(channel), arrival_(std::move(arrival)), header_(header) {}
  ~LoopbackFrame() override {
    std::lock_guard lock(channel_.hub().mutex);
    channel_.ReturnCredit(arrival_.slot);
  }
  const FrameHeader& header() const override { return header_; }
  std::span<const std::byte> metadata() const override {
    return ReceivedMetadata(arrival_.image + kHeaderBytes, header_);
  }
  std::span<const std::byte> payload() const override {
    return ReceivedPayload(arrival_.image + kHeaderBytes, header_);
  }

 private:
  LoopbackChannel& channel_;
  const Arrival arrival_;
  const FrameHeader header_;
};

LoopbackChannel::~LoopbackChannel() {
  std::lock_guard lock(hub_->mutex);
  std::erase(mine().endpoint->channels, this);
  if (!connection_->matched) {
    hub_->waiting.erase(KeyOf(Self(), {peer_.member, peer_.incarnation}, nonce_));
  }
  Lose(absl::CancelledError("abandoned"));
}

void LoopbackChannel::Lose(absl::Status why) const {
  if (state_ == ChannelState::kLost) return;
  state_ = ChannelState::kLost;
  status_ = std::move(why);
  mine().closed = true;
  if (connection_->matched) theirs().endpoint->Announce();
}

// What ends the channel by now, if anything does.
absl::Status LoopbackChannel::WhyLost(TimePoint now) const {
  const std::string who = Describe({peer_.member, peer_.incarnation});
  if (mine().endpoint->killed) return absl::CancelledError("this transport was killed");
  if (connection_->layouts_differ) {
    return absl::InvalidArgumentError(absl::StrCat("open: ", who, " names another slot layout"));
  }
  if (!connection_->matched) {
    if (now - opened_at_ < hub_->options.open_timeout) return absl::OkStatus();
    return absl::DeadlineExceededError(
        absl::StrCat("open: ", who, " did not present the channel's nonce in time"));
  }
  if (Incoming()) {
    if (!theirs().closed && !theirs().endpoint->killed) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat(who, " closed the channel"));
  }
  const TimePoint cut = hub_->cut_since.at({peer_.member, Self().first});
  if (now - std::max(cut, connection_->matched_at) < hub_->options.lost_after) {
    return absl::OkStatus();
  }
  return absl::UnavailableError(absl::StrCat(who, " has been silent"));
}

void LoopbackChannel::Refresh(TimePoint now) const {
  if (state_ == ChannelState::kLost) return;
  if (absl::Status why = WhyLost(now); !why.ok()) {
    Lose(std::move(why));
  } else if (connection_->matched) {
    state_ = ChannelState::kOpen;
  }
}

bool LoopbackChannel::Update(TimePoint now) {
  const ChannelState before = state_;
  Refresh(now);
  bool happened = state_ != before;
  if (state_ == ChannelState::kOpen && Incoming()) happened |= theirs().outgoing->AnnounceDue(now);
  return happened;
}

// When Update might find something without any other transport's doing.
std::optional<TimePoint> LoopbackChannel::NextTimer() const {
  if (state_ == ChannelState::kLost) return std::nullopt;
  if (!connection_->matched) return opened_at_ + hub_->options.open_timeout;
  if (Incoming()) return theirs().outgoing->NextDue();
  const TimePoint cut = hub_->cut_since.at({peer_.member, Self().first});
  return std::max(cut, connection_->matched_at) + hub_->options.lost_after;
}

// Changes nothing: the owner is told by Update that something happened.
bool LoopbackChannel::lost() const {
  std::lock_guard lock(hub_->mutex);
  return state_ == ChannelState::kLost || !WhyLost(hub_->options.clock->Now()).ok();
}

ChannelState LoopbackChannel::state() const {
  std::lock_guard lock(hub_->mutex);
  Refresh(hub_->options.clock->Now());
  return state_;
}

absl::Status LoopbackChannel::status() const {
  std::lock_guard lock(hub_->mutex);
  Refresh(hub_->options.clock->Now());
  return status_;
}

std::unique_ptr<SendSlot> LoopbackChannel::TryAcquire() {
  std::lock_guard lock(hub_->mutex);
  Refresh(hub_->options.clock->Now());
  if (state_ != ChannelState::kOpen) return nullptr;
  const std::optional<uint32_t> slot = mine().outgoing->Acquire(Incoming());
  if (!slot) return nullptr;
  return std::make_unique<LoopbackSendSlot>(*this, *slot, mine().outgoing->slot(*slot));
}

absl::Status LoopbackChannel::Send(std::unique_ptr<SendSlot> slot, const FrameHeader& header) {
  auto& sent = static_cast<LoopbackSendSlot&>(*slot);
  FrameHeader complete = header;
  std::tie(complete.sender, complete.sender_incarnation) = Self();
  complete.slot = sent.index();
  RETURN_IF_ERROR(FinishImage(layout_, complete, rules_.checksum, sent.bytes()));

  std::lock_guard lock(hub_->mutex);
  const TimePoint now = hub_->options.clock->Now();
  Refresh(now);
  sent.MarkSent();
  if (state_ == ChannelState::kLost) return status_;
  mine().outgoing->Post(sent.index(), kHeaderBytes + BodyBytes(complete), now, hub_->rates,
                        hub_->counts);
  theirs().endpoint->Announce();
  return absl::OkStatus();
}

void LoopbackChannel::ReturnCredit(std::optional<uint32_t> slot) {
  if (!slot) return;
  theirs().outgoing->Release(*slot);
  theirs().endpoint->Announce();
}

std::unique_ptr<ReceivedFrame> LoopbackChannel::TryReceive() {
  while (true) {
    std::optional<Arrival> arrival;
    {
      std::lock_guard lock(hub_->mutex);
      const TimePoint now = hub_->options.clock->Now();
      Refresh(now);
      if (state_ != ChannelState::kOpen || !Incoming()) return nullptr;
      arrival = theirs().outgoing->Take(now);
    }
    if (!arrival) return nullptr;
    const size_t header_bytes = std::min(arrival->bytes, kHeaderBytes);
    const auto header =
        CheckArrival(rules_, {arrival->image, header_bytes}, arrival->bytes - header_bytes);
    if (header.ok() &&
        CheckBody(rules_, *header, {arrival->image + kHeaderBytes, BodyBytes(*header)}).ok()) {
      return std::make_unique<LoopbackFrame>(*this, *std::move(arrival), *header);
    }
    ++rejected_;
    std::lock_guard lock(hub_->mutex);
    ReturnCredit(arrival->slot);
  }
}

class LoopbackTransport : public Transport {
 public:
  LoopbackTransport(std::shared_ptr<LoopbackHub> hub, Identity identity)
      : hub_(std::move(hub)), endpoint_(std::make_shared<Endpoint>()) {
    endpoint_->identity = identity;
    std::lock_guard lock(hub_->mutex);
    hub_->endpoints.insert(endpoint_);
  }
  ~LoopbackTransport() override {
    std::lock_guard lock(hub_->mutex);
    hub_->endpoints.erase(endpoint_);
  }

  PeerAddress address() const override {
    return {endpoint_->identity.first, endpoint_->identity.second, "loopback"};
  }
  absl::StatusOr<std::unique_ptr<Channel>> Open(const PeerAddress& peer, const SlotLayout& layout,
                                                uint64_t nonce) override;
  bool Progress() override;
  void Wait(TimePoint deadline) override;
  uint64_t late_messages() const override { return 0; }  // frames die with their channel
  void Wake() override {
    std::lock_guard lock(hub_->mutex);
    endpoint_->Announce();
  }

 private:
  bool TakeEvents(TimePoint now);
  TimePoint NextTimer(TimePoint deadline) const;

  const std::shared_ptr<LoopbackHub> hub_;
  const std::shared_ptr<Endpoint> endpoint_;
};

absl::StatusOr<std::unique_ptr<Channel>> LoopbackTransport::Open(const PeerAddress& peer,
                                                                 const SlotLayout& layout,
                                                                 uint64_t nonce) {
  RETURN_IF_ERROR(CheckLayout(layout));
  const Identity theirs{peer.member, peer.incarnation};
  const ConnectionKey key = KeyOf(endpoint_->identity, theirs, nonce);
  std::lock_guard lock(hub_->mutex);
  std::shared_ptr<Connection>& waiting = hub_->waiting[key];
  int side = 0;
  if (waiting == nullptr) {
    waiting = std::make_shared<Connection>();
    waiting->layout = layout;
  } else {
    if (waiting->ends[0].endpoint == endpoint_) {
      return absl::AlreadyExistsError(
          absl::StrCat("open: a channel to ", Describe(theirs), " with this nonce is opening"));
    }
    side = 1;
  }
  const std::shared_ptr<Connection> connection = waiting;
  End& end = connection->ends[side];
  end.endpoint = endpoint_;
  std::seed_seq seed{hub_->options.seed, endpoint_->identity.first, theirs.first, nonce};
  std::array<uint32_t, 2> link_seed;
  seed.generate(link_seed.begin(), link_seed.end());
  end.outgoing =
      std::make_unique<LoopbackLink>(layout, uint64_t{link_seed[0]} << 32 | link_seed[1]);
  if (side == 1) {
    connection->matched = true;
    connection->layouts_differ = connection->layout != layout;
    connection->matched_at = hub_->options.clock->Now();
    hub_->waiting.erase(key);
    connection->ends[0].endpoint->Announce();
    endpoint_->Announce();
  }
  auto channel = std::make_unique<LoopbackChannel>(hub_, connection, side, peer, layout, nonce);
  endpoint_->channels.push_back(channel.get());
  return channel;
}

// Lets time act on the channels; true when anything happened since the last call. Needs the lock.
bool LoopbackTransport::TakeEvents(TimePoint now) {
  for (LoopbackChannel* channel : endpoint_->channels) {
    if (channel->Update(now)) ++endpoint_->events;
  }
  return std::exchange(endpoint_->events_seen, endpoint_->events) != endpoint_->events;
}

TimePoint LoopbackTransport::NextTimer(TimePoint deadline) const {
  for (const LoopbackChannel* channel : endpoint_->channels) {
    if (const auto timer = channel->NextTimer()) deadline = std::min(deadline, *timer);
  }
  return deadline;
}

bool LoopbackTransport::Progress() {
  std::lock_guard lock(hub_->mutex);
  return TakeEvents(hub_->options.clock->Now());
}

void LoopbackTransport::Wait(TimePoint deadline) {
  std::unique_lock lock(hub_->mutex);
  while (true) {
    const TimePoint now = hub_->options.clock->Now();
    if (TakeEvents(now) || now >= deadline) return;
    if (hub_->ClockIsReal()) {
      endpoint_->event.wait_until(lock, NextTimer(deadline));
    } else {
      // A clock that is moved by hand tells nobody.
      endpoint_->event.wait_for(lock, std::chrono::milliseconds(1));
    }
  }
}

}  // namespace

LoopbackNetwork::LoopbackNetwork(const Options& options)
    : hub_(std::make_shared<LoopbackHub>(options)) {}
LoopbackNetwork::~LoopbackNetwork() = default;

std::unique_ptr<Transport> LoopbackNetwork::Start(uint64_t member, uint64_t incarnation) {
  return std::make_unique<LoopbackTransport>(hub_, Identity{member, incarnation});
}

void LoopbackNetwork::SetFaults(const FaultRates& rates) {
  std::lock_guard lock(hub_->mutex);
  hub_->rates = rates;
}

FaultCounts LoopbackNetwork::faults() const {
  std::lock_guard lock(hub_->mutex);
  return hub_->counts;
}

void LoopbackNetwork::Kill(uint64_t member, uint64_t incarnation) {
  std::lock_guard lock(hub_->mutex);
  for (const auto& endpoint : hub_->endpoints) {
    if (endpoint->identity == Identity{member, incarnation}) endpoint->killed = true;
  }
  hub_->AnnounceToAll();
}

void LoopbackNetwork::Cut(uint64_t from, uint64_t to) {
  std::lock_guard lock(hub_->mutex);
  hub_->cut_since.try_emplace({from, to}, hub_->options.clock->Now());
  hub_->AnnounceToAll();
}

void LoopbackNetwork::Heal(uint64_t from, uint64_t to) {
  std::lock_guard lock(hub_->mutex);
  hub_->cut_since.erase({from, to});
  hub_->AnnounceToAll();
}

}  // namespace switchyard::transport
