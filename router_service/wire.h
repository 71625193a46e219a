#pragma once

// Between proto/router_worker.proto and the engine's values.

#include <cstdint>
#include <functional>
#include <vector>

#include "proto/router_worker.pb.h"
#include "router_service/request.h"

namespace switchyard::router {

GenerateParameters FromProto(const v1::GenerateRequest& request, TimePoint deadline);

v1::GenerateResponse ToProto(const GenerationUpdate& update);

// A piece as messages of at most about `max_bytes` each (one position at the least), in order of
// position, each handed to `send`.
void ToProto(uint32_t row, const EvaluationPiece& piece, size_t max_bytes,
             const std::function<void(v1::EvaluateResponse)>& send);

}  // namespace switchyard::router
