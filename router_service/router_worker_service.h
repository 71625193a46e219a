#pragma once

// The gRPC face of a router worker. Handlers only convert and hand over to the engine.

#include <atomic>
#include <functional>

#include "proto/router_worker.grpc.pb.h"
#include "router_service/engine.h"

namespace switchyard::router {

// Answers UNAVAILABLE until Open: the port is known to the cluster before the weights are loaded.
class RouterWorkerService final : public v1::RouterWorker::CallbackService {
 public:
  using StatusReporter = std::function<void(v1::RouterWorkerStatus&)>;

  // `engine` must outlive every call; `report` fills what a status answer says.
  void Open(Engine& engine, StatusReporter report);

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override;
  grpc::ServerWriteReactor<v1::EvaluateResponse>* Evaluate(
      grpc::CallbackServerContext* context, const v1::EvaluateRequest* request) override;
  grpc::ServerUnaryReactor* Status(grpc::CallbackServerContext* context,
                                   const v1::RouterWorkerStatusRequest* request,
                                   v1::RouterWorkerStatus* response) override;

 private:
  StatusReporter report_;
  std::atomic<Engine*> engine_{nullptr};  // set once, after report_
};

}  // namespace switchyard::router
