#include "router_service/channel_requester.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "proto/expert_host.grpc.pb.h"
#include "services/base/version.h"
#include "services/runtime/grpc_client.h"
#include "services/runtime/grpc_status.h"

namespace switchyard::router {
namespace {

constexpr Duration kTimeout = std::chrono::seconds(2);

absl::StatusOr<transport::PeerAddress> RequestChannel(const v1::ModelIdentity& model,
                                                      const v1::Member& host,
                                                      const transport::PeerAddress& router,
                                                      const transport::SlotLayout& layout,
                                                      uint64_t nonce) {
  v1::OpenChannelRequest request;
  request.set_software_version(kVersion);
  *request.mutable_model() = model;
  request.mutable_router()->set_member(router.member);
  request.mutable_router()->set_incarnation(router.incarnation);
  request.mutable_router()->set_address(router.address);
  request.mutable_layout()->set_rows(layout.rows);
  request.mutable_layout()->set_row_bytes(layout.row_bytes);
  request.mutable_layout()->set_metadata_bytes(layout.metadata_bytes);
  request.mutable_layout()->set_slots(layout.slots);
  request.set_nonce(nonce);

  const auto stub = v1::ExpertHost::NewStub(runtime::NewChannel(host.control_address()));
  const auto context = runtime::NewContext(kTimeout);
  v1::OpenChannelResponse response;
  const absl::Status status =
      runtime::FromGrpc(stub->OpenChannel(context.get(), request, &response));
  if (!status.ok()) {
    return absl::Status(
        status.code(), absl::StrCat("data channel to ", host.name(), " at ", host.control_address(),
                                    ": ", status.message()));
  }
  return transport::PeerAddress{.member = response.host().member(),
                                .incarnation = response.host().incarnation(),
                                .address = response.host().address()};
}

}  // namespace

ChannelRequester GrpcChannelRequester(const v1::ModelIdentity& model) {
  return [model](const v1::Member& host, const transport::PeerAddress& router,
                 const transport::SlotLayout& layout,
                 uint64_t nonce) { return RequestChannel(model, host, router, layout, nonce); };
}

}  // namespace switchyard::router
