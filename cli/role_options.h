#pragma once

#include <cstdint>
#include <string>

namespace switchyard::cli {

// Everything that one role process is told; each role uses its part.
struct RoleOptions {
  std::string kind;         // coordinator, expert-host, router, gateway
  std::string name;         // unique in the cluster; the kind if empty
  std::string model;        // checkpoint folder; the coordinator needs none
  std::string coordinator;  // HOST:PORT; not for the coordinator itself
  std::string host = "127.0.0.1";
  uint16_t port = 0;      // 0 takes a free one
  std::string advertise;  // host name that others call; --host if empty
  std::string transport = "ucx";
  std::string device = "cpu";  // of router workers and expert hosts
  int threads = 0;
  bool json_logs = false;
  int ready_fd = -1;  // gets "PORT\n" when the role is ready
  // Coordinator:
  int replicas = 1;
  int expert_hosts = 1;  // waits for so many before the first placement
  std::string dtype = "auto";
  // Router worker:
  int stages = 1;
  int prefill_chunk = 256;
  int64_t kv_tokens = 0;
  int num_speculative_tokens = 0;
  // Gateway:
  uint16_t grpc_port = 0;  // 0: no gRPC API
  std::string api_key_file;
  std::string served_model_name;
};

}  // namespace switchyard::cli
