#pragma once

// The two ways in which a benchmark sends a request: straight to a router worker, or as any client
// through the gateway's HTTP.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/base/clock.h"

namespace switchyard::cli {

struct RequestTimes {
  TimePoint first{};  // when the first token came
  TimePoint last{};
  int tokens = 0;
};

// Thread-safe.
class BenchClient {
 public:
  virtual ~BenchClient() = default;
  // Greedy, end tokens ignored.
  virtual absl::StatusOr<RequestTimes> Generate(const std::vector<int32_t>& prompt, int tokens) = 0;
};

std::unique_ptr<BenchClient> RouterClient(const std::string& address);
std::unique_ptr<BenchClient> GatewayClient(const std::string& url);

}  // namespace switchyard::cli
