#include "cli/transport_choice.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/base/device_name.h"
#include "kernels/cuda/loader.h"
#include "services/base/status_macros.h"
#include "services/transport/nccl.h"
#include "services/transport/ucx.h"

namespace switchyard::cli {
namespace {

using Started = absl::StatusOr<std::unique_ptr<transport::Transport>>;

transport::UcxLanes LanesOf(const std::string& name) {
  if (name == "ucx-shm") return transport::UcxLanes::kSharedMemory;
  if (name == "ucx-tcp") return transport::UcxLanes::kTcp;
  return transport::UcxLanes::kAuto;
}

Started StartUcx(const RoleOptions& options, uint64_t member, uint64_t incarnation) {
  return transport::UcxTransport::Start({.member = member,
                                         .incarnation = incarnation,
                                         .host = options.host,
                                         .lanes = LanesOf(options.transport)});
}

// With payloads in the unified memory of the GPU that the role computes on.
Started StartUcxCuda(const RoleOptions& options, uint64_t member, uint64_t incarnation) {
  ASSIGN_OR_RETURN(const kernels::CudaApi* const cuda, kernels::LoadCudaLibrary());
  return transport::UcxTransport::Start({.member = member,
                                         .incarnation = incarnation,
                                         .host = options.host,
                                         .payload_memory = transport::UcxPayloadMemory{
                                             .source = cuda->unified_memory(), .cuda = true}});
}

// Between the GPUs that the roles compute on; everything but payloads goes over UCX.
Started StartNccl(const RoleOptions& options, int ordinal, uint64_t member, uint64_t incarnation) {
  ASSIGN_OR_RETURN(const kernels::CudaApi* const cuda, kernels::LoadCudaLibrary());
  ASSIGN_OR_RETURN(auto links, cuda->make_nccl_links(ordinal));
  ASSIGN_OR_RETURN(auto headers, StartUcx(options, member, incarnation));
  return transport::MakeNcclTransport(std::move(headers), std::move(links), {});
}

}  // namespace

absl::StatusOr<TransportFactory> ChooseTransport(
    const RoleOptions& options, std::shared_ptr<transport::LoopbackNetwork> network) {
  if (options.transport == "nccl" || options.transport == "ucx-cuda") {
    ASSIGN_OR_RETURN(const kernels::DeviceName device, kernels::ParseDeviceName(options.device));
    if (device.kind != kernels::DeviceKind::kCuda) {
      return absl::InvalidArgumentError(
          absl::StrCat("--transport ", options.transport,
                       " moves data of GPUs and needs --device cuda:N, not ", options.device));
    }
    if (options.transport == "ucx-cuda") {
      return TransportFactory([options](uint64_t member, uint64_t incarnation) {
        return StartUcxCuda(options, member, incarnation);
      });
    }
    return TransportFactory([options, device](uint64_t member, uint64_t incarnation) {
      return StartNccl(options, device.ordinal, member, incarnation);
    });
  }
  if (options.transport != "loopback") {
    return TransportFactory([options](uint64_t member, uint64_t incarnation) {
      return StartUcx(options, member, incarnation);
    });
  }
  if (network == nullptr) {
    return absl::InvalidArgumentError("transport loopback connects roles of one process only");
  }
  return TransportFactory(
      [network = std::move(network)](uint64_t member, uint64_t incarnation) -> Started {
        return network->Start(member, incarnation);
      });
}

}  // namespace switchyard::cli
