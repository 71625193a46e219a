#include "gateway/grpc_api.h"

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gateway/grpc_answer.h"
#include "gateway/proto_json.h"
#include "gateway/response_json.h"
#include "proto/inference.grpc.pb.h"
#include "services/base/status_macros.h"
#include "services/runtime/grpc_client.h"
#include "services/runtime/grpc_server.h"

namespace switchyard::gateway {
namespace {

namespace api = inference::v1;
using Context = grpc::CallbackServerContext;

// Of one connection.
constexpr int kMaxStreams = 1024;
// Of all messages that are on their way; what comes when it is used up waits.
constexpr size_t kMemoryBytes = size_t{1} << 30;
constexpr Duration kHealthStep = std::chrono::milliseconds(100);

// The fields of `parameters` stand beside the others in JSON.
void Flatten(Json* body) {
  const auto parameters = body->find("parameters");
  if (parameters == body->end()) return;
  const Json fields = std::move(*parameters);
  body->erase("parameters");
  body->update(fields);
}

Json BodyOf(const api::CompletionRequest& request) {
  Json body = ToJson(request);
  Flatten(&body);
  body["prompt"] = Json::array();
  for (const api::Prompt& prompt : request.prompt()) {
    if (prompt.has_tokens()) {
      body["prompt"].push_back(ToJson(prompt.tokens()).value("ids", Json::array()));
    } else {
      body["prompt"].push_back(prompt.text());
    }
  }
  return body;
}

Json BodyOf(const api::ChatRequest& request) {
  Json body = ToJson(request);
  Flatten(&body);
  return body;
}

// Of no messages and no tokens the routes say what is missing.
Json BodyOf(const api::TokenizeRequest& request) { return ToJson(request); }
Json BodyOf(const api::DetokenizeRequest& request) {
  Json body = ToJson(request);
  if (request.tokens().empty()) body["tokens"] = Json::array();
  return body;
}

template <typename Request>
Json StreamedBodyOf(const Request& request) {
  Json body = BodyOf(request);
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  return body;
}

class InferenceService : public api::Inference::CallbackService {
 public:
  explicit InferenceService(Routes& routes) : routes_(routes) {}

  grpc::ServerUnaryReactor* Complete(Context* context, const api::CompletionRequest* request,
                                     api::Completion* response) override {
    return Answer(
        context, "POST", "/v1/completions", [=] { return BodyOf(*request); }, response);
  }
  grpc::ServerWriteReactor<api::Completion>* CompleteStream(
      Context* context, const api::CompletionRequest* request) override {
    return Stream<api::Completion>(context, "/v1/completions",
                                   [=] { return StreamedBodyOf(*request); });
  }
  grpc::ServerUnaryReactor* Chat(Context* context, const api::ChatRequest* request,
                                 api::ChatCompletion* response) override {
    return Answer(
        context, "POST", "/v1/chat/completions", [=] { return BodyOf(*request); }, response);
  }
  grpc::ServerWriteReactor<api::ChatCompletion>* ChatStream(
      Context* context, const api::ChatRequest* request) override {
    return Stream<api::ChatCompletion>(context, "/v1/chat/completions",
                                       [=] { return StreamedBodyOf(*request); });
  }
  grpc::ServerUnaryReactor* Tokenize(Context* context, const api::TokenizeRequest* request,
                                     api::TokenizeResponse* response) override {
    return Answer(
        context, "POST", "/tokenize", [=] { return BodyOf(*request); }, response);
  }
  grpc::ServerUnaryReactor* Detokenize(Context* context, const api::DetokenizeRequest* request,
                                       api::DetokenizeResponse* response) override {
    return Answer(
        context, "POST", "/detokenize", [=] { return BodyOf(*request); }, response);
  }
  grpc::ServerUnaryReactor* ListModels(Context* context, const api::ListModelsRequest*,
                                       api::ListModelsResponse* response) override {
    return Answer(
        context, "GET", "/v1/models", [] { return Json::object(); }, response);
  }

 private:
  // Makes the request's body; only once the caller has shown a key, for that is work.
  using MakeBody = std::function<Json()>;

  template <typename Response>
  grpc::ServerUnaryReactor* Answer(Context* context, const std::string& method,
                                   const std::string& path, const MakeBody& body,
                                   Response* response) {
    auto answer = UnaryAnswer<Response>::Make(context, response);
    Serve(context, method, path, body, answer);
    return answer.get();  // lives until gRPC is done with it
  }

  template <typename Response>
  grpc::ServerWriteReactor<Response>* Stream(Context* context, const std::string& path,
                                             const MakeBody& body) {
    auto answer = StreamAnswer<Response>::Make(context);
    Serve(context, "POST", path, body, answer);
    return answer.get();
  }

  void Serve(Context* context, std::string method, std::string path, const MakeBody& body,
             const std::shared_ptr<HttpExchange>& answer) {
    HttpRequest request{.method = std::move(method), .path = std::move(path)};
    for (const char* name : {"authorization", "x-request-id", "traceparent"}) {
      const auto found = context->client_metadata().find(name);
      if (found != context->client_metadata().end()) {
        request.headers.emplace(name, std::string(found->second.data(), found->second.size()));
      }
    }
    request.time_left = runtime::TimeLeft(*context, Duration::max());
    if (auto refusal = routes_.CheckHead(request)) {
      answer->Send(*std::move(refusal));
    } else {
      request.body = Dump(body());
      routes_.Handle(request, answer);
    }
  }

  Routes& routes_;
};

}  // namespace

struct GrpcApi::Impl {
  Impl(Routes& routes, const WorkerPool& given) : service(routes), pool(given) {}

  ~Impl() { StopHealth(); }

  void FollowHealth() {
    bool serving = false;
    std::unique_lock<std::mutex> lock(mutex);
    while (!stopping) {
      const bool ready = pool.ready();
      if (ready != std::exchange(serving, ready)) server->SetServing(ready);
      changed.wait_for(lock, kHealthStep);
    }
  }

  void StopHealth() {
    {
      std::lock_guard<std::mutex> lock(mutex);
      stopping = true;
    }
    changed.notify_all();
    if (health.joinable()) health.join();
  }

  InferenceService service;
  const WorkerPool& pool;
  std::optional<runtime::GrpcServer> server;
  std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false;
  std::thread health;
};

GrpcApi::GrpcApi(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GrpcApi::~GrpcApi() { Shutdown(Duration::zero()); }

absl::StatusOr<std::unique_ptr<GrpcApi>> GrpcApi::Start(const GrpcApiOptions& options,
                                                        Routes& routes, const WorkerPool& pool) {
  auto impl = std::make_unique<Impl>(routes, pool);
  runtime::GrpcServerOptions server{
      .address = absl::StrCat(options.host, ":", options.port),
      .services = {{.name = api::Inference::service_full_name(), .service = &impl->service}},
      .max_message_bytes = options.max_message_bytes,
      .max_streams = kMaxStreams,
      .memory_bytes = kMemoryBytes};
  ASSIGN_OR_RETURN(impl->server, runtime::GrpcServer::Start(server));
  impl->health = std::thread([impl = impl.get()] { impl->FollowHealth(); });
  return std::unique_ptr<GrpcApi>(new GrpcApi(std::move(impl)));
}

uint16_t GrpcApi::port() const { return impl_->server->port(); }

void GrpcApi::StartDraining() {
  impl_->StopHealth();
  impl_->server->SetServing(false);
}

void GrpcApi::Shutdown(Duration grace) {
  impl_->StopHealth();
  impl_->server->Shutdown(grace);
}

}  // namespace switchyard::gateway
