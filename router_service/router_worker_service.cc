#include "router_service/router_worker_service.h"

#include <utility>

#include "router_service/evaluate_call.h"
#include "router_service/generate_call.h"
#include "router_service/wire.h"
#include "services/runtime/grpc_client.h"

namespace switchyard::router {
namespace {

// Of a call whose client set no deadline.
constexpr Duration kLongestCall = std::chrono::hours(24);

TimePoint DeadlineOf(const grpc::CallbackServerContext& context) {
  return Clock::Real().Now() + runtime::TimeLeft(context, kLongestCall);
}

const grpc::Status& Loading() {
  static const auto* const status =
      new grpc::Status(grpc::StatusCode::UNAVAILABLE, "the router worker is loading its weights");
  return *status;
}

template <typename Response>
class RefusedCall : public grpc::ServerWriteReactor<Response> {
 public:
  RefusedCall() { this->Finish(Loading()); }
  void OnDone() override { delete this; }
};

}  // namespace

void RouterWorkerService::Open(Engine& engine, StatusReporter report) {
  report_ = std::move(report);
  engine_.store(&engine, std::memory_order_release);
}

grpc::ServerWriteReactor<v1::GenerateResponse>* RouterWorkerService::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  Engine* const engine = engine_.load(std::memory_order_acquire);
  if (engine == nullptr) return new RefusedCall<v1::GenerateResponse>;
  return GenerateCall::Start(*engine, FromProto(*request, DeadlineOf(*context)));
}

grpc::ServerWriteReactor<v1::EvaluateResponse>* RouterWorkerService::Evaluate(
    grpc::CallbackServerContext* context, const v1::EvaluateRequest* request) {
  Engine* const engine = engine_.load(std::memory_order_acquire);
  if (engine == nullptr) return new RefusedCall<v1::EvaluateResponse>;
  return EvaluateCall::Start(*engine, *request, DeadlineOf(*context));
}

grpc::ServerUnaryReactor* RouterWorkerService::Status(grpc::CallbackServerContext* context,
                                                      const v1::RouterWorkerStatusRequest*,
                                                      v1::RouterWorkerStatus* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  if (engine_.load(std::memory_order_acquire) == nullptr) {
    reactor->Finish(Loading());
  } else {
    report_(*response);
    reactor->Finish(grpc::Status::OK);
  }
  return reactor;
}

}  // namespace switchyard::router
