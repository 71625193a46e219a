#include "coordinator/order_sender.h"

#include <condition_variable>
#include <list>
#include <mutex>
#include <utility>

#include "proto/expert_host.grpc.pb.h"
#include "services/runtime/grpc_client.h"
#include "services/runtime/grpc_status.h"

namespace switchyard::coordinator {
namespace {

// One order on its way, with a connection of its own: orders are rare, and a host that came back on
// another port must not be reached by way of the old one's reconnect delays.
struct Call {
  std::unique_ptr<v1::ExpertHost::Stub> stub;
  std::unique_ptr<grpc::ClientContext> context;
  v1::LoadExpertsRequest load;
  v1::LoadExpertsResponse load_response;
  v1::UnloadExpertsRequest unload;
  v1::UnloadExpertsResponse unload_response;
};

}  // namespace

struct OrderSender::Impl {
  explicit Impl(Done done_in) : done(std::move(done_in)) {}

  void Finish(std::list<Call>::iterator call, uint64_t id, absl::StatusOr<LayerList> loaded) {
    done(id, std::move(loaded));
    std::lock_guard lock(mutex);
    // Not destroyed here: gRPC is still in its callback.
    finished.splice(finished.end(), in_flight, call);
    changed.notify_all();
  }

  const Done done;
  std::mutex mutex;
  std::condition_variable changed;
  std::list<Call> in_flight;  // both guarded by mutex
  std::list<Call> finished;
};

OrderSender::OrderSender(Done done) : impl_(std::make_unique<Impl>(std::move(done))) {}

OrderSender::~OrderSender() {
  std::unique_lock lock(impl_->mutex);
  for (Call& call : impl_->in_flight) call.context->TryCancel();
  // A cancelled call ends without its peer, so this ends too.
  impl_->changed.wait(lock, [&] { return impl_->in_flight.empty(); });
}

void OrderSender::Send(const Order& order) {
  std::list<Call> old;
  std::list<Call>::iterator call;
  {
    std::lock_guard lock(impl_->mutex);
    old.swap(impl_->finished);
    call = impl_->in_flight.emplace(impl_->in_flight.end());
    call->stub = v1::ExpertHost::NewStub(runtime::NewChannel(order.host.control_address()));
    call->context = runtime::NewContext(order.timeout);
  }
  if (order.kind == Order::Kind::kLoad) {
    call->load.set_incarnation(order.host.incarnation());
    *call->load.mutable_experts() = order.experts;
    call->stub->async()->LoadExperts(
        call->context.get(), &call->load, &call->load_response,
        [impl = impl_.get(), call, id = order.id](const grpc::Status& status) {
          if (status.ok()) {
            impl->Finish(call, id, std::move(*call->load_response.mutable_loaded()));
          } else {
            impl->Finish(call, id, runtime::FromGrpc(status));
          }
        });
  } else {
    call->unload.set_incarnation(order.host.incarnation());
    *call->unload.mutable_experts() = order.experts;
    call->stub->async()->UnloadExperts(
        call->context.get(), &call->unload, &call->unload_response,
        [impl = impl_.get(), call, id = order.id](const grpc::Status& status) {
          if (status.ok()) {
            impl->Finish(call, id, std::move(*call->unload_response.mutable_loaded()));
          } else {
            impl->Finish(call, id, runtime::FromGrpc(status));
          }
        });
  }
}

}  // namespace switchyard::coordinator
