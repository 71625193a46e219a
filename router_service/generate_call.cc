#include "router_service/generate_call.h"

#include <utility>

#include "router_service/wire.h"

namespace switchyard::router {

grpc::ServerWriteReactor<v1::GenerateResponse>* GenerateCall::Start(Engine& engine,
                                                                    GenerateParameters parameters) {
  const std::shared_ptr<GenerateCall> call(new GenerateCall(engine));
  call->KeepAlive(call);
  const absl::StatusOr<uint64_t> id = engine.Generate(std::move(parameters), call);
  if (!id.ok()) {
    call->End(id.status());
    return call.get();
  }
  bool cancelled;
  {
    std::lock_guard lock(call->mutex_);
    call->id_ = *id;
    cancelled = call->cancelled_;
  }
  if (cancelled) engine.Cancel(*id);
  return call.get();
}

void GenerateCall::Update(GenerationUpdate update) {
  Send(ToProto(update));
  if (update.finish != FinishReason::kNone) End(absl::OkStatus());
}

void GenerateCall::Cancelled() {
  std::optional<uint64_t> id;
  {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    id = id_;
  }
  if (id) engine_.Cancel(*id);
}

}  // namespace switchyard::router
