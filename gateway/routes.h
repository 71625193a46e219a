#pragma once

// What the gateway answers to which path.

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "gateway/auth.h"
#include "gateway/chat_request.h"
#include "gateway/completion_request.h"
#include "gateway/gateway_options.h"
#include "gateway/http_types.h"
#include "gateway/metrics.h"
#include "gateway/prompt_encoder.h"
#include "gateway/text_job.h"
#include "gateway/worker_pool.h"

namespace switchyard::gateway {

// Thread-safe. Pool and metrics must outlive it and its jobs.
class Routes {
 public:
  Routes(const GatewayOptions& options, ModelFiles model, WorkerPool& pool, Metrics& metrics);

  // Whether a request may have its body read: authentication first, then the route.
  std::optional<HttpResponse> CheckHead(const HttpRequest& request);

  // Answers a request that CheckHead let pass.
  void Handle(const HttpRequest& request, std::shared_ptr<HttpExchange> exchange);

  // The answer to what is no acceptable HTTP, or too much.
  HttpResponse Refuse(int status);

  // From now on text requests get 503.
  void StartDraining() { draining_ = true; }

  // Waits until no job can run any more.
  void WaitForJobs();

 private:
  struct Route;
  struct JobCount;
  struct Reply;  // an exchange with what every answer to it carries

  static const Route* Find(std::string_view path);
  static const std::vector<Route>& Table();

  void Health(Reply& reply);
  void Metric(Reply& reply);
  void Version(Reply& reply);
  void OpenApi(Reply& reply);
  void Models(Reply& reply);
  void Tokenize(Reply& reply);
  void Detokenize(Reply& reply);
  void Complete(Reply& reply);
  void Chat(Reply& reply);

  Json ModelJson() const;
  ServerLimits Limits() const;
  bool ReadBody(Reply& reply, Json* json);
  void LogUnknown(const std::vector<std::string>& fields);
  bool CanServe(Reply& reply);
  void StartJob(Reply& reply, TextJobOptions job);

  const GatewayOptions& options_;
  const ModelFiles model_;
  const Authenticator authenticator_;
  const int64_t created_;
  WorkerPool& pool_;
  const PromptEncoder prompts_;
  Metrics& metrics_;
  std::atomic<bool> draining_{false};
  const std::shared_ptr<JobCount> jobs_;

  std::mutex mutex_;
  std::set<std::string> unknown_fields_;  // logged already
};

}  // namespace switchyard::gateway
