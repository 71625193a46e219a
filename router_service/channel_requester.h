#pragma once

// Asks expert hosts for data channels over their control service.

#include "proto/cluster.pb.h"
#include "router_service/host_connections.h"

namespace switchyard::router {

// `model`: what this router worker runs; a host that runs something else refuses.
ChannelRequester GrpcChannelRequester(const v1::ModelIdentity& model);

}  // namespace switchyard::router
