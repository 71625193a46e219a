#include "cli/serve.h"

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "cli/role_start.h"
#include "cli/signals.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/base/version.h"
#include "services/model/checkpoint.h"

namespace switchyard::cli {
namespace {

void PrintBanner(const ServeOptions& options, const model::ModelSpec& spec) {
  printf("switchyard %s: %s, %zu layers", kVersion, spec.family.c_str(), spec.layers.size());
  if (!spec.MoeLayers().empty()) {
    const model::RouterSpec& router = *spec.Block(spec.MoeLayers().front()).ffn.router;
    printf(", %lld experts top-%lld", static_cast<long long>(router.experts),
           static_cast<long long>(router.top_k));
  }
  printf("\n  %d router worker(s), %d expert host(s), %s, class %s\n",
         options.layout.router_workers, options.layout.expert_hosts,
         options.layout.in_process ? "one process" : "a process each",
         options.layout.dtype.c_str());
  if (const std::string changed = DescribeNonDefault(options.layout); !changed.empty()) {
    printf("  options:%s\n", changed.c_str());
  }
  fflush(stdout);
}

void PrintReady(const GatewayFlags& gateway, const LocalCluster& cluster,
                const std::string& model) {
  const std::string url = absl::StrCat("http://", gateway.host, ":", cluster.gateway_port());
  printf(
      "\nready: %s\n"
      "try:   curl %s/v1/chat/completions -H 'Content-Type: application/json' \\\n"
      "         -d '{\"model\": \"%s\", \"messages\": [{\"role\": \"user\", \"content\": "
      "\"Who goes there?\"}]}'\n"
      "or:    switchyard chat --url %s\n"
      "       switchyard status --coordinator %s\n",
      url.c_str(), url.c_str(), model.c_str(), url.c_str(), cluster.coordinator_address().c_str());
  if (gateway.grpc_port != 0) printf("gRPC:  %s:%u\n", gateway.host.c_str(), gateway.grpc_port);
  fflush(stdout);
}

std::string ModelName(const ServeOptions& options) {
  if (!options.gateway.served_model_name.empty()) return options.gateway.served_model_name;
  std::string folder = options.layout.model;
  while (folder.size() > 1 && folder.back() == '/') folder.pop_back();
  return folder.substr(folder.find_last_of('/') + 1);
}

}  // namespace

void AddServeFlags(CLI::App& app, ServeOptions& options) {
  app.add_option("model", options.layout.model, "Checkpoint folder")->required();
  AddFlag(app, "--host", options.gateway.host, "Address that the gateway binds");
  AddFlag(app, "--port", options.gateway.port, "Port of the gateway; 0 takes a free one");
  AddFlag(app, "--grpc-port", options.gateway.grpc_port,
          "Port of the gateway's gRPC API; 0: there is none");
  AddFlag(app, "--api-key-file", options.gateway.api_key_file,
          "File with one bearer key a line; without it every request is let in");
  AddFlag(app, "--served-model-name", options.gateway.served_model_name,
          "Name of the model in the API; the folder's name if empty");
  AddLayoutFlags(app, options.layout);
}

absl::Status RunServe(const ServeOptions& options) {
  Signals signals;  // before any thread, so that every thread leaves them to its own
  ASSIGN_OR_RETURN(const auto checkpoint, model::Checkpoint::Open(options.layout.model));
  PrintBanner(options, checkpoint.spec());
  ASSIGN_OR_RETURN(const auto cluster, LocalCluster::Start(options.layout, options.gateway));
  signals.Serve();
  PrintReady(options.gateway, *cluster, ModelName(options));
  signals.Wait();
  LogInfo() << "draining; once more to stop at once";
  cluster->Stop(kDrainTime);
  return absl::OkStatus();
}

}  // namespace switchyard::cli
