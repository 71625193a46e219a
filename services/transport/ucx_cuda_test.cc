// Payloads in unified memory of a GPU, between two processes on one. Skipped where there is no GPU,
// or no UCX that knows CUDA's memory.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "kernels/cuda/loader.h"
#include "services/transport/conformance.h"
#include "services/transport/ucx.h"

namespace switchyard::transport {
namespace {

using std::chrono::seconds;

// Only its numbered frames are used here.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(TransportConformanceTest);

constexpr SlotLayout kLayout{.rows = 256, .row_bytes = 4096, .metadata_bytes = 3000, .slots = 4};
constexpr uint64_t kFrames = 200;
constexpr uint64_t kNonce = 5;

absl::StatusOr<std::unique_ptr<UcxTransport>> StartOnGpu(uint64_t member) {
  const auto cuda = kernels::LoadCudaLibrary();
  if (!cuda.ok()) return cuda.status();
  return UcxTransport::Start(
      {.member = member,
       .incarnation = 1,
       .payload_memory = UcxPayloadMemory{.source = (*cuda)->unified_memory(), .cuda = true},
       .open_timeout = seconds(20)});
}

bool Until(Transport& transport, const std::function<bool()>& condition) {
  const TimePoint deadline = Clock::Real().Now() + seconds(60);
  while (!condition()) {
    if (Clock::Real().Now() >= deadline) return false;
    transport.Wait(Clock::Real().Now() + std::chrono::milliseconds(20));
  }
  return true;
}

std::unique_ptr<Channel> OpenTo(Transport& transport, uint64_t member, const std::string& address) {
  auto channel =
      transport.Open({.member = member, .incarnation = 1, .address = address}, kLayout, kNonce);
  return channel.ok() ? *std::move(channel) : nullptr;
}

// Lines between the two processes.
struct Pipe {
  Pipe() { failed = pipe(ends) != 0; }
  void Write(const std::string& line) const {
    if (write(ends[1], line.data(), line.size()) < 0 || write(ends[1], "\n", 1) < 0) _exit(3);
  }
  std::string Read() const {
    std::string line;
    char next;
    while (read(ends[0], &next, 1) == 1 && next != '\n') line.push_back(next);
    return line;
  }
  int ends[2];
  bool failed;
};

// The other process: sends back what it gets. An empty address says that it cannot.
void SendBack(const Pipe& from_tester, const Pipe& to_tester) {
  const auto transport = StartOnGpu(2);
  to_tester.Write(transport.ok() ? (*transport)->address().address : "");
  if (!transport.ok()) _exit(0);
  const auto channel = OpenTo(**transport, 1, from_tester.Read());
  if (channel == nullptr) _exit(2);
  while (channel->state() != ChannelState::kLost) {
    (*transport)->Wait(Clock::Real().Now() + std::chrono::milliseconds(100));
    while (auto slot = channel->TryAcquire()) {
      const auto frame = channel->TryReceive();
      if (frame == nullptr) break;
      std::memcpy(slot->payload().data(), frame->payload().data(), frame->payload().size());
      std::memcpy(slot->metadata().data(), frame->metadata().data(), frame->metadata().size());
      channel->Send(std::move(slot), frame->header()).IgnoreError();
    }
  }
  _exit(0);
}

TEST(UcxCudaTest, FramesOfEverySizeGoToAnotherProcessOnTheSameGpuAndBack) {
  const Pipe to_peer, from_peer;
  ASSERT_FALSE(to_peer.failed || from_peer.failed);
  const pid_t peer = fork();  // before CUDA, which does not survive it
  ASSERT_GE(peer, 0);
  if (peer == 0) SendBack(to_peer, from_peer);
  close(from_peer.ends[1]);  // so that the peer's end is the end
  const std::string address = from_peer.Read();
  const auto transport = StartOnGpu(1);
  to_peer.Write(transport.ok() ? (*transport)->address().address : "");
  if (!transport.ok() || address.empty()) {
    waitpid(peer, nullptr, 0);
    GTEST_SKIP() << transport.status();
  }
  auto channel = OpenTo(**transport, 2, address);
  ASSERT_NE(channel, nullptr);
  uint64_t sent = 0, received = 0;
  EXPECT_TRUE(Until(**transport, [&] {
    while (sent < kFrames) {
      auto slot = channel->TryAcquire();
      if (slot == nullptr) break;
      const FrameHeader header =
          FillNumbered(*slot, kLayout, sent, static_cast<uint32_t>(sent * 7 % (kLayout.rows + 1)));
      EXPECT_TRUE(channel->Send(std::move(slot), header).ok());
      ++sent;
    }
    while (const auto frame = channel->TryReceive()) {
      EXPECT_TRUE(IsNumbered(*frame, kLayout));
      ++received;
    }
    return received == kFrames || channel->state() == ChannelState::kLost;
  })) << channel->status();
  EXPECT_EQ(received, kFrames) << channel->status();
  EXPECT_EQ(channel->rejected_frames(), 0u);
  channel.reset();
  int status = 0;
  EXPECT_EQ(waitpid(peer, &status, 0), peer);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace switchyard::transport
