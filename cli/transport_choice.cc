#include "cli/transport_choice.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace switchyard::cli {

absl::StatusOr<TransportFactory> ChooseTransport(
    const RoleOptions& options, std::shared_ptr<transport::LoopbackNetwork> network) {
  if (options.transport == "loopback") {
    if (network == nullptr) {
      return absl::InvalidArgumentError("transport loopback connects roles of one process only");
    }
    return TransportFactory(
        [network = std::move(network)](uint64_t member, uint64_t incarnation)
            -> absl::StatusOr<std::unique_ptr<transport::Transport>> {
          return network->Start(member, incarnation);
        });
  }
  return absl::UnimplementedError(absl::StrCat("transport ", options.transport));
}

}  // namespace switchyard::cli
