// Round trips of expert dispatch between a router and expert hosts in other processes, beside
// ucx_perftest for the same bytes:
//
//   bazel run --config=opt //services/transport:transport_benchmark
//
// T tokens of hidden size 4096 in bf16, top-2 over two hosts: each host gets T rows and T
// assignments, and answers with a row per assignment. The router copies the rows into its slots,
// the hosts copy them into theirs (in place of experts), so that the memory is really touched;
// ucx_perftest touches nothing. The same with one host shows the transport alone, since this takes
// two busy processes, as ucx_perftest does. The baseline of a host is ucx_perftest's one-way
// latency (active messages) for the dispatch's bytes plus that for the combine's; of two hosts,
// twice that. Of ucx_perftest as it comes and with every message eager, the faster counts.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "services/base/check.h"
#include "services/transport/child_process.h"
#include "services/transport/ucx.h"

namespace switchyard::transport {
namespace {

constexpr uint32_t kRowBytes = 4096 * 2;
constexpr uint32_t kMaxTokens = 512;
constexpr SlotLayout kLayout{.rows = kMaxTokens,
                             .row_bytes = kRowBytes,
                             .metadata_bytes = kMaxTokens * kAssignmentBytes,
                             .slots = 2};
constexpr uint64_t kNonce = 42;
constexpr uint64_t kRouter = 1;

TimePoint Soon() { return Clock::Real().Now() + std::chrono::seconds(10); }

std::unique_ptr<UcxTransport> Start(uint64_t member, UcxLanes lanes, int hosts) {
  // One host and the router have a core each, and may spin; three processes do not.
  const Duration spin = hosts == 1 ? std::chrono::microseconds(2000) : std::chrono::microseconds(2);
  auto transport = UcxTransport::Start({.member = member, .lanes = lanes, .spin = spin});
  CHECK(transport.ok()) << transport.status();
  return *std::move(transport);
}

std::unique_ptr<Channel> Open(Transport& transport, uint64_t member, const std::string& address) {
  auto channel = transport.Open({.member = member, .address = address}, kLayout, kNonce);
  CHECK(channel.ok()) << channel.status();
  return *std::move(channel);
}

// An expert host whose experts return their input.
int RunHost(UcxLanes lanes, uint64_t member, const std::string& router_address, int hosts) {
  const auto transport = Start(member, lanes, hosts);
  std::printf("%s\n", transport->address().address.c_str());
  std::fflush(stdout);
  const auto channel = Open(*transport, kRouter, router_address);
  while (channel->state() != ChannelState::kLost) {
    const auto dispatch = channel->TryReceive();
    if (dispatch == nullptr) {
      transport->Wait(Soon());
      continue;
    }
    std::unique_ptr<SendSlot> slot;
    while ((slot = channel->TryAcquire()) == nullptr && channel->state() == ChannelState::kOpen) {
      transport->Wait(Soon());
    }
    if (slot == nullptr) break;
    const size_t assignments = dispatch->metadata().size() / kAssignmentBytes;
    for (size_t i = 0; i < assignments; ++i) {
      const Assignment assignment = DecodeAssignment(dispatch->metadata(), i);
      std::memcpy(slot->payload().data() + i * kRowBytes,
                  dispatch->payload().data() + size_t{assignment.row} * kRowBytes, kRowBytes);
    }
    FrameHeader header = dispatch->header();
    header.direction = Direction::kCombine;
    header.rows = static_cast<uint32_t>(assignments);
    header.metadata_bytes = 0;
    if (!channel->Send(std::move(slot), header).ok()) break;
  }
  return 0;
}

class Router {
 public:
  Router(UcxLanes lanes, int hosts) : transport_(Start(kRouter, lanes, hosts)) {
    for (int i = 0; i < hosts; ++i) {
      const uint64_t member = kRouter + 1 + static_cast<uint64_t>(i);
      processes_.push_back(std::make_unique<ChildProcess>(std::vector<std::string>{
          "/proc/self/exe", std::to_string(static_cast<int>(lanes)), std::to_string(member),
          transport_->address().address, std::to_string(hosts)}));
      channels_.push_back(Open(*transport_, member, processes_.back()->ReadLine()));
    }
    for (const auto& channel : channels_) {
      while (channel->state() == ChannelState::kOpening) transport_->Wait(Soon());
      CHECK(channel->state() == ChannelState::kOpen) << channel->status();
    }
    for (uint32_t i = 0; i < kMaxTokens; ++i) assignments_.push_back({i, i % 8, 0.5f});
  }

  std::string lane() const { return channels_[0]->lane(); }

  // The median microseconds of a round trip.
  double Measure(uint32_t tokens) {
    const int rounds = tokens <= 8 ? 4000 : tokens <= 64 ? 2000 : 300;
    for (int i = 0; i < rounds / 10; ++i) RoundTrip(tokens);
    std::vector<double> microseconds;
    for (int i = 0; i < rounds; ++i) {
      const TimePoint begin = Clock::Real().Now();
      RoundTrip(tokens);
      microseconds.push_back(static_cast<double>((Clock::Real().Now() - begin).count()) / 1000);
    }
    std::nth_element(microseconds.begin(), microseconds.begin() + rounds / 2, microseconds.end());
    return microseconds[static_cast<size_t>(rounds) / 2];
  }

 private:
  void RoundTrip(uint32_t tokens) {
    for (const auto& channel : channels_) Dispatch(*channel, tokens);
    size_t missing = channels_.size();
    while (missing > 0) {
      for (const auto& channel : channels_) {
        if (const auto combine = channel->TryReceive()) {
          CHECK(combine->header().rows == tokens) << combine->header().rows;
          --missing;
        }
      }
      if (missing > 0) transport_->Wait(Soon());
    }
  }

  void Dispatch(Channel& channel, uint32_t tokens) {
    std::unique_ptr<SendSlot> slot;
    while ((slot = channel.TryAcquire()) == nullptr) transport_->Wait(Soon());
    std::memcpy(slot->payload().data(), activations_.data(), size_t{tokens} * kRowBytes);
    EncodeAssignments({assignments_.data(), tokens}, slot->metadata());
    const absl::Status sent = channel.Send(
        std::move(slot), {.rows = tokens,
                          .row_bytes = kRowBytes,
                          .metadata_bytes = static_cast<uint32_t>(tokens * kAssignmentBytes)});
    CHECK(sent.ok()) << sent;
  }

  std::unique_ptr<UcxTransport> transport_;
  std::vector<std::unique_ptr<ChildProcess>> processes_;
  std::vector<std::unique_ptr<Channel>> channels_;
  std::vector<std::byte> activations_ = std::vector<std::byte>(size_t{kMaxTokens} * kRowBytes);
  std::vector<Assignment> assignments_;
};

// ucx_perftest's one-way latency in microseconds.
double PerftestLatency(const std::string& settings, size_t bytes) {
  static int port = 20000 + static_cast<int>(Clock::Real().Now().time_since_epoch().count() % 9000);
  ++port;
  const std::string program =
      "env UCX_WARN_UNUSED_ENV_VARS=n " + settings + " ucx_perftest -p " + std::to_string(port);
  const std::string iterations = std::to_string(bytes > 1'000'000 ? 300 : 3000);
  ChildProcess server({"/bin/sh", "-c", "exec " + program});
  for (int attempt = 0; attempt < 50; ++attempt) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    // Columns: iterations, then the 50th percentile.
    ChildProcess client({"/bin/sh", "-c",
                         program + " 127.0.0.1 -t ucp_am_lat -f -w 100 -n " + iterations + " -s " +
                             std::to_string(bytes) + " 2>/dev/null | tail -1"});
    double count = 0, median = 0;
    if (std::sscanf(client.ReadLine().c_str(), "%lf %lf", &count, &median) == 2) return median;
  }
  return 0;
}

double BestPerftest(UcxLanes lanes, size_t bytes) {
  const std::string transports = lanes == UcxLanes::kTcp ? "UCX_TLS=tcp" : "UCX_TLS=posix,self";
  return std::min(PerftestLatency(transports, bytes),
                  PerftestLatency(transports + " UCX_RNDV_THRESH=inf", bytes));
}

void Compare(UcxLanes lanes) {
  const std::vector<uint32_t> token_counts = {1, 8, 64, kMaxTokens};
  std::printf("%-10s %7s %12s %10s %6s %12s %10s %6s\n", "lane", "tokens", "1 host us", "perftest",
              "ratio", "2 hosts us", "perftest", "ratio");
  std::vector<std::vector<double>> measured;
  std::string lane;
  for (int hosts : {1, 2}) {
    Router router(lanes, hosts);
    lane = router.lane();
    measured.emplace_back();
    for (uint32_t tokens : token_counts) measured.back().push_back(router.Measure(tokens));
  }
  for (size_t i = 0; i < token_counts.size(); ++i) {
    const size_t payload = size_t{token_counts[i]} * kRowBytes;
    const double baseline =
        BestPerftest(lanes, kHeaderBytes + payload + token_counts[i] * kAssignmentBytes) +
        BestPerftest(lanes, kHeaderBytes + payload);
    std::printf("%-10s %7u %12.1f %10.1f %6.2f %12.1f %10.1f %6.2f\n", lane.c_str(),
                token_counts[i], measured[0][i], baseline, measured[0][i] / baseline,
                measured[1][i], 2 * baseline, measured[1][i] / (2 * baseline));
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace switchyard::transport

int main(int count, char** arguments) {
  using switchyard::transport::UcxLanes;
  if (count == 5) {
    return switchyard::transport::RunHost(static_cast<UcxLanes>(std::atoi(arguments[1])),
                                          std::strtoull(arguments[2], nullptr, 10), arguments[3],
                                          std::atoi(arguments[4]));
  }
  switchyard::transport::Compare(UcxLanes::kSharedMemory);
  switchyard::transport::Compare(UcxLanes::kTcp);
  return 0;
}
