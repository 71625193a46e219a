#pragma once

// One Evaluate call: keeps a few of its rows in the engine at a time and holds them back while the
// client is slow, so that memory stays bounded.

#include <memory>
#include <mutex>
#include <vector>

#include "proto/router_worker.pb.h"
#include "router_service/engine.h"
#include "router_service/request.h"
#include "router_service/stream_call.h"

namespace switchyard::router {

class EvaluateCall : public StreamCall<v1::EvaluateResponse> {
 public:
  // The engine must outlive the call.
  static grpc::ServerWriteReactor<v1::EvaluateResponse>* Start(Engine& engine,
                                                               const v1::EvaluateRequest& request,
                                                               TimePoint deadline);

 private:
  class Row;

  EvaluateCall(Engine& engine, const v1::EvaluateRequest& request, TimePoint deadline);
  void StartRows();
  absl::Status StartRow(int row);
  void RowEnded();
  void RowFailed(const absl::Status& status);
  void StopRows();
  bool HasRoom() const;
  void Cancelled() override { StopRows(); }
  void Written() override;

  Engine& engine_;
  const v1::EvaluateRequest request_;
  const TimePoint deadline_;
  std::weak_ptr<EvaluateCall> weak_;

  std::mutex mutex_;  // taken before the engine's
  int next_row_ = 0;
  int running_ = 0;
  bool stopped_ = false;
  std::vector<uint64_t> ids_;  // of rows handed to the engine
};

}  // namespace switchyard::router
