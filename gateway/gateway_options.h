#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "services/base/clock.h"

namespace switchyard::gateway {

struct GatewayOptions {
  // Checkpoint folder: tokenizer.json or tokenizer.model, tokenizer_config.json and
  // generation_config.json are read from it. Without a tokenizer only token-id prompts are served
  // and texts stay empty.
  std::string model_folder;
  std::string served_model_name;  // empty: the folder's name

  std::string host = "127.0.0.1";
  uint16_t port = 8000;               // 0 takes a free one
  std::optional<uint16_t> grpc_port;  // of the gRPC API; 0 takes a free one, none: there is none

  // Router workers: those of the coordinator's placement, or these addresses when there are any.
  std::string coordinator_address;
  std::vector<std::string> router_addresses;

  // Bearer keys that open every route but /health. None: no authentication.
  std::vector<std::string> api_keys;

  Duration request_timeout = std::chrono::minutes(10);  // of one generation, resumptions included
  size_t max_body_bytes = size_t{8} << 20;
  Duration ping_interval = std::chrono::seconds(15);  // of streams in which nothing happens
};

}  // namespace switchyard::gateway
