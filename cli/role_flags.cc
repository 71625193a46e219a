#include "cli/role_flags.h"

#include "cli/layout_options.h"

namespace switchyard::cli {

void AddRoleFlags(CLI::App& app, RoleOptions& options) {
  app.add_option("kind", options.kind, "Which role")
      ->required()
      ->check(CLI::IsMember({"coordinator", "expert-host", "router", "gateway"}));
  AddFlag(app, "--name", options.name, "Name of this member, unique in the cluster");
  AddFlag(app, "--model", options.model, "Checkpoint folder");
  AddFlag(app, "--coordinator", options.coordinator, "HOST:PORT of the coordinator");
  AddFlag(app, "--host", options.host, "Address to bind");
  AddFlag(app, "--port", options.port, "Port to bind; 0 takes a free one");
  AddFlag(app, "--advertise", options.advertise, "Host name that other roles call");
  AddFlag(app, "--transport", options.transport,
          "Data path; ucx-cuda and nccl need --device cuda:N, nccl a GPU for each role")
      ->check(CLI::IsMember({"ucx", "ucx-shm", "ucx-tcp", "ucx-cuda", "nccl"}));
  AddFlag(app, "--device", options.device, "Router worker, expert host: what it computes on")
      ->check(RangeOf("--device"));
  AddFlag(app, "--threads", options.threads, "Compute threads; 0: one per core")
      ->check(RangeOf("--threads"));
  app.add_flag("--json-logs", options.json_logs, "Log lines as JSON objects");
  app.add_option("--ready-fd", options.ready_fd, "Descriptor that gets the port when ready");
  AddFlag(app, "--replicas", options.replicas, "Coordinator: owners of each expert")
      ->check(RangeOf("--replicas"));
  AddFlag(app, "--expert-hosts", options.expert_hosts,
          "Coordinator: hosts to wait for before the first placement")
      ->check(RangeOf("--expert-hosts"));
  AddFlag(app, "--dtype", options.dtype, "Coordinator: numerics class of the pool")
      ->check(RangeOf("--dtype"));
  AddFlag(app, "--stages", options.stages, "Router worker: parts that the layers are cut into")
      ->check(RangeOf("--stages"));
  AddFlag(app, "--prefill-chunk", options.prefill_chunk,
          "Router worker: most prompt tokens of one request in a step")
      ->check(RangeOf("--prefill-chunk"));
  AddFlag(app, "--kv-tokens", options.kv_tokens, "Router worker: KV cache size; 0: by memory")
      ->check(RangeOf("--kv-tokens"));
  AddFlag(app, "--grpc-port", options.grpc_port, "Gateway: port of the gRPC API; 0: there is none");
  AddFlag(app, "--num-speculative-tokens", options.num_speculative_tokens,
          "Router worker: tokens guessed ahead by multi-token prediction; 0: off")
      ->check(RangeOf("--num-speculative-tokens"));
  AddFlag(app, "--api-key-file", options.api_key_file, "Gateway: file with bearer keys");
  AddFlag(app, "--served-model-name", options.served_model_name, "Gateway: name of the model");
}

}  // namespace switchyard::cli
