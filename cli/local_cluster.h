#pragma once

// All roles of a cluster on this machine, as supervised processes or inside this process: the same
// roles with the same options either way.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/layout_options.h"
#include "services/base/clock.h"

namespace switchyard::cli {

struct GatewayFlags {
  bool start = false;
  std::string host = "127.0.0.1";
  uint16_t port = 8000;
  uint16_t grpc_port = 0;  // 0: no gRPC API
  std::string api_key_file;
  std::string served_model_name;
};

class LocalCluster {
 public:
  // Returns when every router worker can reach every expert, and the gateway (if any) serves.
  static absl::StatusOr<std::unique_ptr<LocalCluster>> Start(const LayoutOptions& layout,
                                                             const GatewayFlags& gateway);
  virtual ~LocalCluster() = default;  // Stop, with no time to drain

  virtual std::string coordinator_address() const = 0;
  virtual std::vector<std::string> router_addresses() const = 0;
  virtual uint16_t gateway_port() const = 0;  // 0 without a gateway

  // Drains and ends every role: gateway first, coordinator last; `grace` for each kind of role.
  virtual void Stop(Duration grace) = 0;
};

}  // namespace switchyard::cli
