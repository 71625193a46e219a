#include "gateway/testing/fake_router_worker.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "services/base/check.h"
#include "services/runtime/grpc_status.h"

namespace switchyard::gateway::testing {
namespace {

constexpr int32_t kVocabulary = 4096;
constexpr int32_t kEndToken = 2;
constexpr int32_t kFirstPlainToken = 300;

int32_t TokenAt(const FakeBehaviour& behaviour, const v1::GenerateRequest& request, size_t place) {
  const bool greedy = request.sampling().temperature() == 0;
  if (greedy) return behaviour.script[place % behaviour.script.size()];
  const uint64_t mixed = (request.sampling().seed() + place + 1) * 0x9E3779B97F4A7C15u;
  return kFirstPlainToken + static_cast<int32_t>((mixed >> 33) % 3000);
}

v1::TokenLogprobs LogprobsOf(int32_t token, int alternatives, size_t place) {
  v1::TokenLogprobs logprobs;
  logprobs.mutable_chosen()->set_token(token);
  logprobs.mutable_chosen()->set_logprob(-0.25f - static_cast<float>(place));
  logprobs.mutable_chosen()->set_rank(1);
  for (int i = 0; i < alternatives; ++i) {
    v1::TokenLogprob* top = logprobs.add_top();
    top->set_token(i == 0 ? token : kFirstPlainToken + i);
    top->set_logprob(logprobs.chosen().logprob() - static_cast<float>(i));
    top->set_rank(i + 1);
  }
  return logprobs;
}

void AddPromptLogprobs(const v1::GenerateRequest& request, v1::GenerateResponse* response) {
  if (request.prompt_logprobs() < 0) return;
  for (int i = 0; i < request.prompt_ids_size(); ++i) {
    auto* logprobs = response->add_prompt_logprobs();
    if (i > 0) *logprobs = LogprobsOf(request.prompt_ids(i), request.prompt_logprobs(), i);
  }
}

bool Ends(const v1::GenerateRequest& request, int32_t token, size_t generated) {
  const auto& stops = request.stop_token_ids();
  if (generated <= request.min_tokens()) return false;
  if (token == kEndToken && !request.ignore_eos()) return true;
  return std::find(stops.begin(), stops.end(), token) != stops.end();
}

}  // namespace

FakeRouterWorker::FakeRouterWorker(FakeBehaviour behaviour, uint32_t max_positions)
    : behaviour_(std::move(behaviour)), max_positions_(max_positions) {
  auto server = runtime::GrpcServer::Start(
      {.services = {{.name = v1::RouterWorker::service_full_name(), .service = this}}});
  CHECK(server.ok()) << server.status();
  server_ = std::make_unique<runtime::GrpcServer>(*std::move(server));
  server_->SetServing(true);
}

FakeRouterWorker::~FakeRouterWorker() { server_->Shutdown(Duration::zero()); }

void FakeRouterWorker::SetBehaviour(FakeBehaviour behaviour) {
  std::lock_guard<std::mutex> lock(mutex_);
  behaviour_ = std::move(behaviour);
}

std::vector<v1::GenerateRequest> FakeRouterWorker::Requests() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return requests_;
}

grpc::Status FakeRouterWorker::Generate(grpc::ServerContext* context,
                                        const v1::GenerateRequest* request,
                                        grpc::ServerWriter<v1::GenerateResponse>* writer) {
  FakeBehaviour behaviour;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    requests_.push_back(*request);
    behaviour = behaviour_;
  }
  std::this_thread::sleep_for(behaviour.first_delay);
  if (!behaviour.refuse.ok()) return runtime::ToGrpc(behaviour.refuse);
  ++running_;
  v1::GenerateResponse response;
  AddPromptLogprobs(*request, &response);
  response.set_cached_tokens(request->prompt_ids_size() / 2);
  response.set_stop_token(-1);
  size_t generated = request->generated_ids_size();
  for (int sent = 0; response.finish() == v1::FINISH_NONE; ++sent) {
    if (generated >= request->max_tokens()) {
      response.set_finish(v1::FINISH_LENGTH);
    } else {
      if (sent == behaviour.die_after) break;
      std::this_thread::sleep_for(behaviour.token_delay);
      const int32_t token = TokenAt(behaviour, *request, generated);
      if (request->logprobs() >= 0) {
        *response.add_logprobs() = LogprobsOf(token, request->logprobs(), generated);
      }
      response.add_token_ids(token);
      ++generated;
      if (Ends(*request, token, generated)) {
        response.set_finish(v1::FINISH_STOP);
        response.set_stop_token(token);
      } else if (generated == request->max_tokens()) {
        response.set_finish(v1::FINISH_LENGTH);
      }
    }
    if (context->IsCancelled() || !writer->Write(response)) break;
    const auto finish = response.finish();
    response.Clear();
    response.set_stop_token(-1);
    response.set_finish(finish);
  }
  --running_;
  if (context->IsCancelled()) ++cancelled_;
  return response.finish() != v1::FINISH_NONE
             ? grpc::Status::OK
             : grpc::Status(grpc::StatusCode::UNAVAILABLE, "ipv4:10.0.0.1:7777: socket closed");
}

grpc::Status FakeRouterWorker::Status(grpc::ServerContext*, const v1::RouterWorkerStatusRequest*,
                                      v1::RouterWorkerStatus* response) {
  response->set_vocabulary(kVocabulary);
  response->set_max_positions(max_positions_);
  response->add_eos_token_ids(kEndToken);
  response->set_ready(ready_);
  response->set_running(running_);
  response->set_kv_pages_used(1);
  response->set_kv_pages_total(4);
  response->set_prefix_cache_queries(100);
  response->set_prefix_cache_hits(40);
  return grpc::Status::OK;
}

}  // namespace switchyard::gateway::testing
