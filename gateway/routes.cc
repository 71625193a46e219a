#include "gateway/routes.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gateway/openapi.h"
#include "gateway/request_head.h"
#include "services/base/log.h"
#include "services/base/version.h"

namespace switchyard::gateway {
namespace {

constexpr size_t kMostLoggedFields = 1000;
constexpr size_t kLongestLoggedField = 64;
constexpr char kModelPath[] = "/v1/models";

std::string RandomId() {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  return absl::StrCat(absl::Hex(random(), absl::kZeroPad16), absl::Hex(random(), absl::kZeroPad16));
}

uint64_t RandomSeed() {
  std::random_device device;
  return static_cast<uint64_t>(device()) << 32 | device();
}

}  // namespace

// Jobs that still have callbacks to come.
struct Routes::JobCount {
  std::mutex mutex;
  std::condition_variable changed;
  int jobs = 0;
};

struct Routes::Reply {
  const HttpRequest& request;
  std::shared_ptr<HttpExchange> exchange;
  Metrics& metrics;
  std::string request_id;

  void Send(HttpResponse response) {
    response.headers.push_back({"X-Request-Id", request_id});
    metrics.CountHttpResponse(response.status);
    exchange->Send(std::move(response));
  }
  void Send(const Json& json) { Send(HttpResponse{.status = 200, .body = Dump(json)}); }
  void Send(const ApiError& error) { Send(ErrorResponse(error)); }
};

struct Routes::Route {
  std::string path;
  std::string method;
  void (Routes::*handle)(Reply&);

  // HEAD is GET whose answer stays without its body.
  bool Takes(const std::string& asked) const {
    return asked == method || (asked == "HEAD" && method == "GET");
  }
  std::string Allow() const { return method == "GET" ? "GET, HEAD" : method; }
};

const std::vector<Routes::Route>& Routes::Table() {
  static const auto* table = new std::vector<Route>{
      {"/health", "GET", &Routes::Health},
      {"/metrics", "GET", &Routes::Metric},
      {"/version", "GET", &Routes::Version},
      {"/openapi.json", "GET", &Routes::OpenApi},
      {kModelPath, "GET", &Routes::Models},
      {"/tokenize", "POST", &Routes::Tokenize},
      {"/detokenize", "POST", &Routes::Detokenize},
      {"/v1/completions", "POST", &Routes::Complete},
      {"/v1/chat/completions", "POST", &Routes::Chat},
  };
  return *table;
}

const Routes::Route* Routes::Find(std::string_view path) {
  // /v1/models/NAME is about the same thing.
  const std::string prefix = absl::StrCat(kModelPath, "/");
  if (path.size() > prefix.size() && path.starts_with(prefix)) path = kModelPath;
  const auto& table = Table();
  const auto found = std::find_if(table.begin(), table.end(),
                                  [path](const Route& route) { return route.path == path; });
  return found == table.end() ? nullptr : &*found;
}

Routes::Routes(const GatewayOptions& options, ModelFiles model, WorkerPool& pool, Metrics& metrics)
    : options_(options),
      model_(std::move(model)),
      authenticator_(options.api_keys),
      created_(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now())),
      pool_(pool),
      prompts_(model_, pool),
      metrics_(metrics),
      jobs_(std::make_shared<JobCount>()) {}

std::optional<HttpResponse> Routes::CheckHead(const HttpRequest& request) {
  std::optional<ApiError> error;
  if (!authenticator_.Allows(request.path, request.Header("authorization"))) {
    error = ApiError{.status = 401,
                     .message = "a valid key is needed: Authorization: Bearer KEY",
                     .code = "invalid_api_key"};
  } else if (const Route* route = Find(request.path); route == nullptr) {
    error = NotFound("there is no such route", "route_not_found");
  } else if (!route->Takes(request.method)) {
    error = ApiError{.status = 405,
                     .message = "use " + route->method + " for this route",
                     .code = "method_not_allowed"};
  } else if (route->method == "POST" && !SaysJson(request)) {
    error = ApiError{.status = 415,
                     .message =
                         "the body must be JSON without a content encoding, and its "
                         "Content-Type application/json",
                     .code = "unsupported_media_type"};
  }
  if (!error) return std::nullopt;
  metrics_.CountHttpResponse(error->status);
  HttpResponse response = ErrorResponse(*error);
  const std::string_view id = request.Header("x-request-id");
  response.headers.push_back({"X-Request-Id", IsPlainId(id) ? std::string(id) : RandomId()});
  if (error->status == 405) response.headers.push_back({"Allow", Find(request.path)->Allow()});
  return response;
}

void Routes::Handle(const HttpRequest& request, std::shared_ptr<HttpExchange> exchange) {
  const std::string_view id = request.Header("x-request-id");
  Reply reply{request, std::move(exchange), metrics_, IsPlainId(id) ? std::string(id) : RandomId()};
  (this->*Find(request.path)->handle)(reply);
}

HttpResponse Routes::Refuse(int status) {
  metrics_.CountHttpResponse(status);
  ApiError error{.status = status};
  switch (status) {
    case 408:
      error.message = "the request came too slowly";
      break;
    case 413:
      error.message = absl::StrCat("the body is larger than ", options_.max_body_bytes, " bytes");
      break;
    case 431:
      error.message = "the header is too large";
      break;
    case 503:
      error = Overloaded("the server has too many connections or too much to read",
                         "too_many_connections");
      break;
    default:
      error.message = "this is not valid HTTP";
  }
  HttpResponse response = ErrorResponse(error);
  response.headers.push_back({"X-Request-Id", RandomId()});  // its own may not have been readable
  return response;
}

void Routes::WaitForJobs() {
  std::unique_lock<std::mutex> lock(jobs_->mutex);
  jobs_->changed.wait(lock, [this] { return jobs_->jobs == 0; });
}

// ---- Small routes.

void Routes::Health(Reply& reply) {
  if (draining_) {
    reply.Send(Overloaded("the server is shutting down", "shutting_down"));
  } else if (!pool_.ready()) {
    reply.Send(Overloaded("no router worker is ready", "not_ready"));
  } else {
    reply.Send(Json{{"status", "ok"}});
  }
}

void Routes::Metric(Reply& reply) {
  reply.Send(HttpResponse{.status = 200,
                          .content_type = "text/plain; version=0.0.4; charset=utf-8",
                          .body = metrics_.Render(pool_.Reports())});
}

void Routes::OpenApi(Reply& reply) {
  reply.Send(HttpResponse{.status = 200, .body = OpenApiText()});
}

void Routes::Version(Reply& reply) { reply.Send(Json{{"version", kVersion}}); }

Json Routes::ModelJson() const {
  const auto model = pool_.model();
  return {{"id", model_.name},
          {"object", "model"},
          {"created", created_},
          {"owned_by", "switchyard"},
          {"max_model_len", model ? Json(model->max_positions) : Json()}};
}

void Routes::Models(Reply& reply) {
  const std::string_view path = reply.request.path;
  if (path == kModelPath) {
    reply.Send(Json{{"object", "list"}, {"data", Json::array({ModelJson()})}});
  } else if (PercentDecode(path.substr(sizeof kModelPath)) == model_.name) {
    reply.Send(ModelJson());
  } else {
    reply.Send(NotFound("this server does not serve that model", "model_not_found"));
  }
}

void Routes::Tokenize(Reply& reply) {
  Json json;
  if (!ReadBody(reply, &json)) return;
  FieldReader reader(json);
  reader.Ignore("model");
  const bool is_chat = reader.Value("messages") != nullptr;
  const auto text = is_chat ? std::nullopt : reader.String("prompt");
  const ChatMessages chat = is_chat ? ReadChatMessages(reader) : ChatMessages{};
  const bool add_special = reader.Bool("add_special_tokens", true);
  const bool with_texts = reader.Bool("return_token_strs", false);
  if (!is_chat && !text) reader.Fail("prompt", "is required, or messages");
  LogUnknown(reader.Unknown());
  if (reader.error()) return reply.Send(*reader.error());
  if (model_.tokenizer == nullptr) return reply.Send(NotFound("no tokenizer", "no_tokenizer"));
  TextPrompt encoded;
  const auto error = is_chat
                         ? prompts_.EncodeChat(chat, /*may_cut=*/false, &encoded.ids)
                         : prompts_.EncodePrompt(*text, add_special, /*may_cut=*/false, &encoded);
  if (error) return reply.Send(*error);
  const std::vector<int32_t>& ids = encoded.ids;
  const auto model = pool_.model();
  Json answer = {{"count", ids.size()},
                 {"max_model_len", model ? Json(model->max_positions) : Json()},
                 {"tokens", ids},
                 {"token_strs", nullptr}};
  if (with_texts) {
    answer["token_strs"] = Json::array();
    for (int32_t id : ids) answer["token_strs"].push_back(TokenText(model_.tokenizer.get(), id));
  }
  reply.Send(answer);
}

void Routes::Detokenize(Reply& reply) {
  Json json;
  if (!ReadBody(reply, &json)) return;
  if (model_.tokenizer == nullptr) return reply.Send(NotFound("no tokenizer", "no_tokenizer"));
  FieldReader reader(json);
  reader.Ignore("model");
  if (reader.Value("tokens") == nullptr) reader.Fail("tokens", "is required");
  const auto ids = reader.TokenIds("tokens", model_.tokenizer->vocabulary());
  LogUnknown(reader.Unknown());
  if (reader.error()) return reply.Send(*reader.error());
  reply.Send(Json{{"prompt", model_.tokenizer->Decode(ids, /*skip_special=*/true)}});
}

// ---- Text.

ServerLimits Routes::Limits() const {
  const auto model = pool_.model();
  const int32_t of_tokenizer = model_.tokenizer ? model_.tokenizer->vocabulary() : INT32_MAX;
  return {.model = model_.name,
          .vocabulary = model ? model->vocabulary : of_tokenizer,
          .defaults = model_.defaults,
          .tokenizer = model_.tokenizer.get()};
}

bool Routes::ReadBody(Reply& reply, Json* json) {
  const auto error = ParseJsonBody(reply.request.body, json);
  if (error) reply.Send(*error);
  return !error;
}

void Routes::LogUnknown(const std::vector<std::string>& fields) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (const std::string& field : fields) {
    if (unknown_fields_.size() >= kMostLoggedFields) return;
    // Names come from clients: only plain ones are fit for a log.
    const std::string name = IsPlainId(field) ? field.substr(0, kLongestLoggedField) : "(odd name)";
    if (unknown_fields_.insert(name).second) {
      LogInfo() << "requests have the unknown field " << name << ", which is ignored";
    }
  }
}

bool Routes::CanServe(Reply& reply) {
  if (draining_) {
    reply.Send(Overloaded("the server is shutting down", "shutting_down"));
  } else if (!pool_.model()) {
    reply.Send(Overloaded("no router worker is ready", "not_ready"));
  } else {
    return true;
  }
  return false;
}

void Routes::Complete(Reply& reply) {
  Json json;
  if (!ReadBody(reply, &json)) return;
  CompletionRequest request;
  if (const auto error = ParseCompletionRequest(json, Limits(), &request))
    return reply.Send(*error);
  LogUnknown(request.unknown_fields);
  if (!CanServe(reply)) return;
  TextJobOptions job{.answer = {.echo = request.echo, .logprobs = request.logprobs},
                     .sampling = request.sampling};
  const bool may_cut = request.sampling.truncate_prompt_tokens.has_value();
  for (const Prompt& prompt : request.prompts) {
    TextPrompt encoded;
    uint32_t max_tokens = 0;
    auto error = prompts_.EncodePrompt(prompt, request.add_special_tokens, may_cut, &encoded);
    if (!error) error = prompts_.Fit(request.sampling, encoded, &max_tokens);
    if (error) return reply.Send(*error);
    if (request.echo && encoded.text.empty() && model_.tokenizer != nullptr) {
      encoded.text = model_.tokenizer->Decode(encoded.ids, /*skip_special=*/true);
    }
    job.prompts.push_back(std::move(encoded));
    job.max_tokens.push_back(max_tokens);
  }
  StartJob(reply, std::move(job));
}

void Routes::Chat(Reply& reply) {
  Json json;
  if (!ReadBody(reply, &json)) return;
  ChatRequest request;
  if (const auto error = ParseChatRequest(json, Limits(), &request)) return reply.Send(*error);
  LogUnknown(request.unknown_fields);
  if (!CanServe(reply)) return;
  TextJobOptions job{.answer = {.chat = true, .logprobs = request.logprobs},
                     .sampling = request.sampling,
                     .prompts = std::vector<TextPrompt>(1),
                     .max_tokens = {0},
                     .continues_text = request.chat.continue_final_message};
  const bool may_cut = request.sampling.truncate_prompt_tokens.has_value();
  if (const auto error = prompts_.EncodeChat(request.chat, may_cut, &job.prompts[0].ids)) {
    return reply.Send(*error);
  }
  if (auto error = prompts_.Fit(request.sampling, job.prompts[0], &job.max_tokens[0])) {
    if (error->param == "prompt") error->param = "messages";
    return reply.Send(*error);
  }
  StartJob(reply, std::move(job));
}

void Routes::StartJob(Reply& reply, TextJobOptions job) {
  const SamplingFields& sampling = job.sampling;
  job.answer.stream = sampling.stream;
  job.answer.prompt_logprobs = sampling.prompt_logprobs >= 0;
  job.answer.token_ids = sampling.return_token_ids;
  job.answer.tokenizer = model_.tokenizer.get();
  job.seed = sampling.seed ? static_cast<uint64_t>(*sampling.seed) : RandomSeed();
  job.model = model_.name;
  job.request_id = sampling.request_id.empty() ? reply.request_id : sampling.request_id;
  job.traceparent = TraceParent(reply.request);
  job.timeout =
      std::min(options_.request_timeout, reply.request.time_left.value_or(Duration::max()));
  job.headers = {{"X-Request-Id", reply.request_id}};
  {
    std::lock_guard<std::mutex> lock(jobs_->mutex);
    ++jobs_->jobs;
  }
  job.alive = std::shared_ptr<void>(nullptr, [jobs = jobs_](void*) {
    std::lock_guard<std::mutex> lock(jobs->mutex);
    --jobs->jobs;
    jobs->changed.notify_all();
  });
  TextJob::Start(std::move(job), pool_, metrics_, reply.exchange);
}

}  // namespace switchyard::gateway
