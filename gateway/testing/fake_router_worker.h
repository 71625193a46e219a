#pragma once

// A router worker for tests: serves the real gRPC interface with tokens that follow from the
// request alone, and misbehaves on demand.

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "proto/router_worker.grpc.pb.h"
#include "services/base/clock.h"
#include "services/runtime/grpc_server.h"

namespace switchyard::gateway::testing {

// What it does next. Every token depends on its place (and, with a temperature, on the seed) only,
// so any fake worker goes on where another left off.
struct FakeBehaviour {
  std::vector<int32_t> script;  // the greedy tokens, repeated; token 2 ends
  Duration first_delay{};       // before anything
  Duration token_delay{};       // before each token
  int die_after = -1;           // breaks the call after so many tokens of it; -1: never
  absl::Status refuse;          // not OK: the answer to every call
};

class FakeRouterWorker : public v1::RouterWorker::Service {
 public:
  explicit FakeRouterWorker(FakeBehaviour behaviour, uint32_t max_positions = 2048);
  ~FakeRouterWorker() override;

  std::string address() const { return server_->address(); }
  void SetBehaviour(FakeBehaviour behaviour);
  void SetReady(bool ready) { ready_ = ready; }

  std::vector<v1::GenerateRequest> Requests() const;  // all so far
  int cancelled() const { return cancelled_; }
  int running() const { return running_; }

 private:
  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) override;
  grpc::Status Status(grpc::ServerContext* context, const v1::RouterWorkerStatusRequest* request,
                      v1::RouterWorkerStatus* response) override;

  mutable std::mutex mutex_;
  FakeBehaviour behaviour_;
  std::vector<v1::GenerateRequest> requests_;
  const uint32_t max_positions_;
  std::atomic<bool> ready_{true};
  std::atomic<int> cancelled_{0};
  std::atomic<int> running_{0};
  std::unique_ptr<runtime::GrpcServer> server_;
};

}  // namespace switchyard::gateway::testing
