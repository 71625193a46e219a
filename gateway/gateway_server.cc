#include "gateway/gateway_server.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gateway/grpc_api.h"
#include "gateway/http_server.h"
#include "gateway/routes.h"
#include "services/base/file.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/model/generation_config.h"

namespace switchyard::gateway {
namespace {

constexpr int kHttpThreads = 4;  // they parse, render and tokenize too
// A load balancer goes on sending until it has seen /health fail. There is none on loopback.
constexpr Duration kDrainNotice = std::chrono::seconds(2);
constexpr size_t kLargestConfig = 1 << 20;
constexpr size_t kLargestKeyFile = 1 << 20;

std::string FolderName(const std::string& folder) {
  const auto path = std::filesystem::path(folder).lexically_normal();
  return (path.has_filename() ? path.filename() : path.parent_path().filename()).string();
}

absl::StatusOr<SamplingDefaults> ReadDefaults(const std::string& folder) {
  const std::string path = folder + "/generation_config.json";
  SamplingDefaults defaults;
  if (!std::filesystem::exists(path)) return defaults;
  ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path, kLargestConfig));
  ASSIGN_OR_RETURN(const model::GenerationConfig config, model::ParseGenerationConfig(text, path));
  defaults.temperature = config.temperature.value_or(defaults.temperature);
  defaults.top_p = config.top_p.value_or(defaults.top_p);
  defaults.top_k = config.top_k.value_or(defaults.top_k);
  defaults.min_p = config.min_p.value_or(defaults.min_p);
  defaults.repetition_penalty = config.repetition_penalty.value_or(defaults.repetition_penalty);
  return defaults;
}

absl::StatusOr<ModelFiles> ReadModelFiles(const GatewayOptions& options) {
  const std::string& folder = options.model_folder;
  ModelFiles model{.name = options.served_model_name};
  if (model.name.empty()) model.name = FolderName(folder);
  ASSIGN_OR_RETURN(model.defaults, ReadDefaults(folder));
  auto tokenizer = tokenizer::Tokenizer::Open(folder);
  if (tokenizer.ok()) {
    model.tokenizer = *std::move(tokenizer);
  } else if (!absl::IsNotFound(tokenizer.status())) {
    return absl::InvalidArgumentError(absl::StrCat(folder, ": ", tokenizer.status().message()));
  } else {
    LogWarning() << folder
                 << " has no tokenizer.json or tokenizer.model: only token-id prompts are served";
  }
  auto chat_template = tokenizer::ChatTemplate::Open(folder);
  if (chat_template.ok()) {
    model.chat_template = *std::move(chat_template);
  } else if (!absl::IsNotFound(chat_template.status())) {
    return absl::InvalidArgumentError(absl::StrCat(folder, ": ", chat_template.status().message()));
  }
  return model;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> LoadApiKeys(const std::string& file, const char* list) {
  using Lines = std::vector<std::string>;
  std::vector<std::string> keys;
  const auto add = [&keys](const std::string& text) {
    const std::string key(absl::StripAsciiWhitespace(text));
    if (!key.empty()) keys.push_back(key);
  };
  // A list or file without a key must not open the server to everybody.
  if (list != nullptr) {
    for (const std::string& entry : Lines(absl::StrSplit(list, ','))) add(entry);
    if (keys.empty()) {
      return absl::InvalidArgumentError(
          "SWITCHYARD_API_KEYS holds no key; unset it to let everybody in");
    }
  }
  if (!file.empty()) {
    const size_t before = keys.size();
    ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(file, kLargestKeyFile));
    for (const std::string& line : Lines(absl::StrSplit(text, '\n'))) {
      const bool comment = absl::StripLeadingAsciiWhitespace(line).substr(0, 1) == "#";
      if (!comment) add(line);
    }
    if (keys.size() == before) return absl::InvalidArgumentError(file + " holds no key");
  }
  return keys;
}

struct GatewayServer::Impl {
  Impl(GatewayOptions given, ModelFiles model)
      : options(std::move(given)),
        pool({.coordinator_address = options.coordinator_address,
              .router_addresses = options.router_addresses}),
        routes(options, std::move(model), pool, metrics) {}

  ~Impl() {
    http.reset();  // every client is gone now, which cancels its jobs
    grpc.reset();
    routes.WaitForJobs();
  }

  const GatewayOptions options;
  Metrics metrics;
  WorkerPool pool;
  Routes routes;
  std::unique_ptr<HttpServer> http;
  std::unique_ptr<GrpcApi> grpc;  // null: not asked for
};

GatewayServer::GatewayServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GatewayServer::GatewayServer(GatewayServer&&) noexcept = default;
GatewayServer& GatewayServer::operator=(GatewayServer&&) noexcept = default;
GatewayServer::~GatewayServer() = default;

absl::StatusOr<GatewayServer> GatewayServer::Start(GatewayOptions options) {
  if (options.coordinator_address.empty() == options.router_addresses.empty()) {
    return absl::InvalidArgumentError(
        "gateway: give either the coordinator's address or those of router workers");
  }
  ASSIGN_OR_RETURN(ModelFiles model, ReadModelFiles(options));
  auto impl = std::make_unique<Impl>(std::move(options), std::move(model));
  HttpServerOptions http{
      .host = impl->options.host, .port = impl->options.port, .threads = kHttpThreads};
  http.max_body_bytes = impl->options.max_body_bytes;
  http.ping_interval = impl->options.ping_interval;
  Routes* routes = &impl->routes;
  ASSIGN_OR_RETURN(
      impl->http,
      HttpServer::Start(
          http, {.check_head = [routes](const auto& request) { return routes->CheckHead(request); },
                 .handle =
                     [routes](const HttpRequest& request, std::shared_ptr<HttpExchange> exchange) {
                       routes->Handle(request, std::move(exchange));
                     },
                 .refuse = [routes](int status) { return routes->Refuse(status); }}));
  if (impl->options.grpc_port) {
    ASSIGN_OR_RETURN(impl->grpc, GrpcApi::Start({.host = impl->options.host,
                                                 .port = *impl->options.grpc_port,
                                                 .max_message_bytes = impl->options.max_body_bytes},
                                                impl->routes, impl->pool));
  }
  if (impl->options.api_keys.empty() && !impl->http->loopback()) {
    LogWarning() << "everybody who reaches " << impl->options.host
                 << " is let in: there are no API keys";
  }
  return GatewayServer(std::move(impl));
}

uint16_t GatewayServer::port() const { return impl_->http->port(); }

uint16_t GatewayServer::grpc_port() const { return impl_->grpc ? impl_->grpc->port() : 0; }

bool GatewayServer::ready() const { return impl_->pool.ready(); }

bool GatewayServer::Drain(Duration grace) {
  const TimePoint deadline = Clock::Real().Now() + grace;
  impl_->routes.StartDraining();
  impl_->http->CloseAfterAnswers();
  if (impl_->grpc) impl_->grpc->StartDraining();
  if (!impl_->http->loopback()) std::this_thread::sleep_for(std::min(grace, kDrainNotice));
  impl_->http->StopAccepting();
  const auto left = [deadline] {
    return std::max<Duration>(deadline - Clock::Real().Now(), Duration::zero());
  };
  bool calls_done = true;
  if (impl_->grpc) {
    impl_->grpc->Shutdown(left());
    calls_done = left() > Duration::zero();
  }
  return impl_->http->WaitIdle(left()) && calls_done;
}

}  // namespace switchyard::gateway
