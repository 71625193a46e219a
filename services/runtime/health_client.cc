#include "services/runtime/health_client.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <future>
#include <memory>

#include "services/base/status_macros.h"
#include "services/runtime/grpc_client.h"
#include "services/runtime/grpc_status.h"

namespace switchyard::runtime {
namespace {

// Debian ships no generated code for grpc.health.v1, and its messages have one field each:
// HealthCheckRequest { string service = 1; }, HealthCheckResponse { ServingStatus status = 1; }.
constexpr char kLengthDelimitedField1 = 0x0a;
constexpr char kVarintField1 = 0x08;
constexpr char kServing = 1;
constexpr size_t kMaxServiceName = 127;  // so that its length is one byte

grpc::ByteBuffer EncodeRequest(const std::string& service) {
  std::string bytes;
  if (!service.empty()) {
    bytes = {kLengthDelimitedField1, static_cast<char>(service.size())};
    bytes += service;
  }
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

absl::StatusOr<bool> DecodeResponse(const grpc::ByteBuffer& response) {
  grpc::Slice slice;
  RETURN_IF_ERROR(FromGrpc(response.DumpToSingleSlice(&slice)));
  return slice.size() == 2 && slice.begin()[0] == kVarintField1 && slice.begin()[1] == kServing;
}

}  // namespace

absl::StatusOr<bool> IsServing(const std::string& address, const std::string& service,
                               Duration timeout) {
  if (service.size() > kMaxServiceName) return absl::InvalidArgumentError("service name too long");
  grpc::GenericStub stub(NewChannel(address));
  const std::unique_ptr<grpc::ClientContext> context = NewContext(timeout);
  const grpc::ByteBuffer request = EncodeRequest(service);
  grpc::ByteBuffer response;
  std::promise<grpc::Status> done;
  stub.UnaryCall(context.get(), "/grpc.health.v1.Health/Check", {}, &request, &response,
                 [&](grpc::Status status) { done.set_value(std::move(status)); });
  RETURN_IF_ERROR(FromGrpc(done.get_future().get()));
  return DecodeResponse(response);
}

}  // namespace switchyard::runtime
