#include "cli/transport_choice.h"

#include <utility>

#include "services/transport/ucx.h"

namespace switchyard::cli {
namespace {

transport::UcxLanes LanesOf(const std::string& name) {
  if (name == "ucx-shm") return transport::UcxLanes::kSharedMemory;
  if (name == "ucx-tcp") return transport::UcxLanes::kTcp;
  return transport::UcxLanes::kAuto;
}

}  // namespace

absl::StatusOr<TransportFactory> ChooseTransport(
    const RoleOptions& options, std::shared_ptr<transport::LoopbackNetwork> network) {
  using Started = absl::StatusOr<std::unique_ptr<transport::Transport>>;
  if (options.transport != "loopback") {
    return TransportFactory([host = options.host, lanes = LanesOf(options.transport)](
                                uint64_t member, uint64_t incarnation) -> Started {
      return transport::UcxTransport::Start(
          {.member = member, .incarnation = incarnation, .host = host, .lanes = lanes});
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
