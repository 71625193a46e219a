#pragma once

// One Generate call: hands the request to the engine and its tokens to the client.

#include <memory>
#include <mutex>
#include <optional>

#include "proto/router_worker.pb.h"
#include "router_service/engine.h"
#include "router_service/request.h"
#include "router_service/stream_call.h"

namespace switchyard::router {

class GenerateCall : public StreamCall<v1::GenerateResponse>, public GenerationSink {
 public:
  // The engine must outlive the call.
  static grpc::ServerWriteReactor<v1::GenerateResponse>* Start(Engine& engine,
                                                               GenerateParameters parameters);

  void Update(GenerationUpdate update) override;
  void Fail(const absl::Status& status) override { End(status); }

 private:
  explicit GenerateCall(Engine& engine) : engine_(engine) {}
  void Cancelled() override;

  Engine& engine_;
  std::mutex mutex_;
  std::optional<uint64_t> id_;
  bool cancelled_ = false;
};

}  // namespace switchyard::router
