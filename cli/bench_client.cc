#include "cli/bench_client.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/http_client.h"
#include "proto/router_worker.grpc.pb.h"
#include "services/base/status_macros.h"
#include "services/runtime/grpc_client.h"
#include "services/runtime/grpc_status.h"

namespace switchyard::cli {
namespace {

constexpr Duration kRequestLimit = std::chrono::minutes(10);

void Note(RequestTimes& times, int tokens) {
  if (tokens == 0) return;
  times.last = Clock::Real().Now();
  if (times.tokens == 0) times.first = times.last;
  times.tokens += tokens;
}

absl::StatusOr<RequestTimes> CheckCount(RequestTimes times, int wanted) {
  if (times.tokens == wanted) return times;
  return absl::InternalError(absl::StrCat("got ", times.tokens, " tokens instead of ", wanted));
}

class OverGrpc : public BenchClient {
 public:
  explicit OverGrpc(const std::string& address)
      : stub_(v1::RouterWorker::NewStub(runtime::NewChannel(address))) {}

  absl::StatusOr<RequestTimes> Generate(const std::vector<int32_t>& prompt, int tokens) override {
    v1::GenerateRequest request;
    request.mutable_prompt_ids()->Add(prompt.begin(), prompt.end());
    request.set_max_tokens(static_cast<uint32_t>(tokens));
    request.set_ignore_eos(true);
    request.set_logprobs(-1);
    request.set_prompt_logprobs(-1);
    request.mutable_sampling()->set_top_p(1.0f);
    const auto context = runtime::NewContext(kRequestLimit);
    const auto stream = stub_->Generate(context.get(), request);
    RequestTimes times;
    v1::GenerateResponse response;
    while (stream->Read(&response)) Note(times, response.token_ids_size());
    RETURN_IF_ERROR(runtime::FromGrpc(stream->Finish()));
    return CheckCount(times, tokens);
  }

 private:
  const std::unique_ptr<v1::RouterWorker::Stub> stub_;
};

class OverHttp : public BenchClient {
 public:
  explicit OverHttp(std::string url) : url_(std::move(url)) {}

  absl::StatusOr<RequestTimes> Generate(const std::vector<int32_t>& prompt, int tokens) override {
    const nlohmann::json body = {{"prompt", prompt}, {"max_tokens", tokens},
                                 {"temperature", 0}, {"ignore_eos", true},
                                 {"stream", true},   {"return_token_ids", true}};
    RequestTimes times;
    RETURN_IF_ERROR(StreamHttp(
        {.url = absl::StrCat(url_, "/v1/completions"),
         .json_body = body.dump(),
         .timeout = kRequestLimit},
        [&](std::string_view event) {
          if (event == "[DONE]") return false;
          const auto json = nlohmann::json::parse(event, nullptr, false);
          if (!json.is_object() || !json.contains("choices") || json["choices"].empty()) {
            return true;
          }
          const nlohmann::json& choice = json["choices"][0];
          if (choice.contains("token_ids") && choice["token_ids"].is_array()) {
            Note(times, static_cast<int>(choice["token_ids"].size()));
          }
          return true;
        }));
    return CheckCount(times, tokens);
  }

 private:
  const std::string url_;
};

}  // namespace

std::unique_ptr<BenchClient> RouterClient(const std::string& address) {
  return std::make_unique<OverGrpc>(address);
}

std::unique_ptr<BenchClient> GatewayClient(const std::string& url) {
  return std::make_unique<OverHttp>(url);
}

}  // namespace switchyard::cli
