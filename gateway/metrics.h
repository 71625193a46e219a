#pragma once

// What the gateway counts, for Prometheus. Names follow vLLM's, with the prefix switchyard_.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gateway/worker_pool.h"
#include "services/base/clock.h"

namespace switchyard::gateway {

// Thread-safe.
class Metrics {
 public:
  Metrics();
  ~Metrics();

  void CountHttpResponse(int status);
  void CountPromptTokens(uint64_t tokens);
  void CountGeneratedTokens(uint64_t tokens);
  void CountFinished(const std::string& finished_reason);  // stop, length, abort, error

  void ObserveTimeToFirstToken(Duration time);
  void ObserveInterTokenLatency(Duration time);
  void ObserveRequestLatency(Duration time);

  // The text of GET /metrics. What the workers report is taken in first.
  std::string Render(const std::vector<WorkerReport>& workers);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace switchyard::gateway
