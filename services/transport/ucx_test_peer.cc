// The other process of ucx_test: member 2 sends back every frame until its channel is lost, and
// then exits with 7. Arguments: mode, own incarnation, the tester's address, nonce.

#include "services/transport/ucx_test_peer.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "services/base/check.h"
#include "services/transport/ucx.h"

namespace switchyard::transport {
namespace {

void SendBack(Channel& channel, std::unique_ptr<SendSlot> slot, const ReceivedFrame& frame) {
  std::memcpy(slot->payload().data(), frame.payload().data(), frame.payload().size());
  std::memcpy(slot->metadata().data(), frame.metadata().data(), frame.metadata().size());
  // Once the peer is lost the loop ends, so a failure needs no more than that.
  channel.Send(std::move(slot), frame.header()).IgnoreError();
}

int Run(char** arguments) {
  UcxOptions options = OptionsOf(static_cast<UcxTestMode>(std::atoi(arguments[1])));
  options.member = kPeerMember;
  options.incarnation = std::strtoull(arguments[2], nullptr, 10);
  options.open_timeout = std::chrono::seconds(20);
  auto transport = UcxTransport::Start(options);
  CHECK(transport.ok()) << transport.status();
  std::printf("%s\n", (*transport)->address().address.c_str());
  std::fflush(stdout);
  auto channel =
      (*transport)
          ->Open(
              {.member = kTesterMember, .incarnation = kTesterIncarnation, .address = arguments[3]},
              kPeerLayout, std::strtoull(arguments[4], nullptr, 10));
  CHECK(channel.ok()) << channel.status();
  while ((*channel)->state() != ChannelState::kLost) {
    (*transport)->Wait(Clock::Real().Now() + std::chrono::milliseconds(100));
    while (std::unique_ptr<SendSlot> slot = (*channel)->TryAcquire()) {
      const auto frame = (*channel)->TryReceive();
      if (frame == nullptr) break;
      SendBack(**channel, std::move(slot), *frame);
    }
  }
  return kPeerLostExit;
}

}  // namespace
}  // namespace switchyard::transport

int main(int count, char** arguments) {
  CHECK(count == 5) << "mode, incarnation, tester's address, nonce";
  return switchyard::transport::Run(arguments);
}
