#pragma once

// A router worker: embedding, attention, KV cache, routing, sampling and the LM head of one model;
// its experts are on expert hosts. Control over gRPC (proto/router_worker.proto), rows over the
// transport.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/device/device.h"
#include "services/base/clock.h"
#include "services/model/batch_rows.h"
#include "services/transport/transport.h"

namespace switchyard::router {

struct RouterOptions {
  std::string name;  // unique in the cluster
  std::string model_folder;
  std::string coordinator_address;  // HOST:PORT
  std::string listen_address = "127.0.0.1:0";
  std::string advertised_host;  // what others call; the listen address' host if empty
  // Makes the data path: (member, incarnation) -> transport.
  std::function<absl::StatusOr<std::unique_ptr<transport::Transport>>(uint64_t member,
                                                                      uint64_t incarnation)>
      transport;
  kernels::Device* device = nullptr;  // outlives the server
  int64_t stages = 1;                 // parts that the layers are cut into in this process
  int64_t prefill_chunk = 512;        // most rows of one prompt in a micro-batch
  int64_t max_batch_rows = model::kMicroBatchRows;  // prefill_chunk if that is more
  int64_t kv_tokens = 0;        // size of the KV cache; 0: by the machine's memory
  int64_t draft_tokens = 0;     // guessed ahead by multi-token prediction; 0: off
  int64_t max_requests = 1024;  // running and waiting
  Duration expert_timeout = std::chrono::seconds(30);  // how long a request waits for lost experts
  Duration registration_timeout = std::chrono::seconds(60);
};

// Move-only; the destructor stops at once. Thread-safe.
class RouterServer {
 public:
  // Returns when the weights are loaded in the class that the coordinator chose, and the worker is
  // registered and listens. It is ready only when it reaches every expert. Errors: the
  // checkpoint's, the coordinator's refusal, a port that is taken, options out of range.
  static absl::StatusOr<RouterServer> Start(RouterOptions options);

  RouterServer(RouterServer&&) noexcept;
  RouterServer& operator=(RouterServer&&) noexcept;
  ~RouterServer();

  uint16_t port() const;

  // Waits until every expert of every layer can be reached. DEADLINE_EXCEEDED says what is missing.
  absl::Status WaitReady(TimePoint deadline) const;

  // Turns away new requests and finishes those it has; what is left at the deadline fails.
  void Drain(TimePoint deadline);

 private:
  struct Impl;
  explicit RouterServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace switchyard::router
