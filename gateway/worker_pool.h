#pragma once

// The router workers: which there are, how they are, and which one a prompt should go to.

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "proto/router_worker.grpc.pb.h"
#include "services/base/clock.h"

namespace switchyard::gateway {

struct WorkerPoolOptions {
  std::string coordinator_address;            // follows its placement, unless
  std::vector<std::string> router_addresses;  // these are given
  Duration poll_interval = std::chrono::milliseconds(200);
};

// One incarnation of one router worker. Thread-safe.
struct Worker {
  Worker(uint64_t id, std::string name, const std::string& address);

  const uint64_t id;  // unique in the pool, never 0, never used again
  const std::string name;
  const std::unique_ptr<v1::RouterWorker::Stub> stub;
  std::atomic<int> in_flight{0};  // calls of this gateway
};

// What the model is, as the workers tell it.
struct ModelInfo {
  int32_t vocabulary = 0;
  uint32_t max_positions = 0;
  std::vector<int32_t> eos_token_ids;
};

struct WorkerReport {
  std::string name;
  bool alive = false;
  v1::RouterWorkerStatus status;  // the last one
};

// Owns a thread. Thread-safe.
class WorkerPool {
 public:
  explicit WorkerPool(WorkerPoolOptions options);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // The worker that holds the longest beginning of the prompt, unless it is much busier than the
  // least busy one, which is the answer otherwise. Workers in `avoid` are taken only when there is
  // no other. Null when no worker can take requests.
  std::shared_ptr<Worker> Pick(std::span<const int32_t> prompt, const std::vector<uint64_t>& avoid);

  // A call to it broke: it is not picked until it answers again.
  void ReportBroken(const Worker& worker);

  // Some worker can reach every expert.
  bool ready() const;

  // Nothing before the first worker answered.
  std::optional<ModelInfo> model() const;

  std::vector<WorkerReport> Reports() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace switchyard::gateway
