// The gateway over real HTTP, in front of fake router workers.

#include "gateway/gateway_server.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "bazel/fixtures/fixtures.h"
#include "gateway/testing/fake_router_worker.h"
#include "gateway/testing/http_test_client.h"

namespace switchyard::gateway {
namespace {

using nlohmann::json;
using testing::FakeBehaviour;
using testing::FakeRouterWorker;
using testing::Fetch;
using testing::RequestText;
using testing::TestConnection;
using testing::TestResponse;

// "I am not mad, sir, and I am a gentleman." and the end token.
const std::vector<int32_t> kAnswer = {277, 447, 326, 549, 4052, 476,  4052,
                                      299, 277, 447, 263, 1123, 4059, 2};
constexpr char kAnswerText[] = "I am not mad, sir, and I am a gentleman.";
constexpr char kQuestion[] = R"("messages": [{"role": "user", "content": "Who goes there?"}])";

template <typename Condition>
bool Eventually(Condition condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

class GatewayTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SWITCHYARD_FIXTURE_OR_SKIP(folder, "demo");
    folder_ = folder;
  }

  FakeRouterWorker& AddWorker(FakeBehaviour behaviour = {.script = kAnswer}) {
    workers_.push_back(std::make_unique<FakeRouterWorker>(std::move(behaviour)));
    return *workers_.back();
  }

  void StartGateway(std::vector<std::string> api_keys = {}) {
    if (workers_.empty()) AddWorker();
    const bool open = api_keys.empty();
    GatewayOptions options{.model_folder = folder_, .port = 0, .api_keys = std::move(api_keys)};
    for (const auto& worker : workers_) options.router_addresses.push_back(worker->address());
    auto server = GatewayServer::Start(std::move(options));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = std::make_unique<GatewayServer>(*std::move(server));
    ASSERT_TRUE(Eventually([this] { return server_->ready(); }));
    if (open) {
      ASSERT_TRUE(Eventually([this] { return AllWorkersAnswer(); }));
    }
  }

  bool AllWorkersAnswer() {
    const std::string metrics = Get("/metrics").body;
    return std::all_of(workers_.begin(), workers_.end(), [&](const auto& worker) {
      return metrics.find("worker_up{worker=\"" + worker->address() + "\"} 1") != std::string::npos;
    });
  }

  TestResponse Get(const std::string& path) { return Fetch(server_->port(), "GET", path); }
  TestResponse Post(const std::string& path, const std::string& body) {
    return Fetch(server_->port(), "POST", path, body);
  }
  json Ok(const TestResponse& response) {
    EXPECT_EQ(response.status, 200) << response.body;
    return json::parse(response.body, nullptr, false);
  }
  TestResponse Chat(const std::string& fields) {
    return Post("/v1/chat/completions", std::string("{") + kQuestion + ", " + fields + "}");
  }
  TestResponse Complete(const std::string& fields) {
    return Post("/v1/completions", "{\"prompt\": \"Hark\", " + fields + "}");
  }

  std::string folder_;
  std::vector<std::unique_ptr<FakeRouterWorker>> workers_;
  std::unique_ptr<GatewayServer> server_;
};

TEST_F(GatewayTest, AnswersAChat) {
  StartGateway();
  const json answer = Ok(Chat(R"("temperature": 0, "request_id": "abc")"));
  EXPECT_EQ(answer["id"], "chatcmpl-abc");
  EXPECT_EQ(answer["object"], "chat.completion");
  EXPECT_EQ(answer["model"], "demo");
  const json& choice = answer["choices"][0];
  EXPECT_EQ(choice["message"]["content"], kAnswerText);
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_TRUE(choice["logprobs"].is_null());
  EXPECT_EQ(answer["usage"], json::parse(R"({"prompt_tokens": 9, "completion_tokens": 14,
      "total_tokens": 23, "prompt_tokens_details": {"cached_tokens": 4}})"));
  const v1::GenerateRequest request = workers_[0]->Requests().at(0);
  EXPECT_EQ(std::vector<int32_t>(request.prompt_ids().begin(), request.prompt_ids().end()),
            (std::vector<int32_t>{1, 4037, 3, 705, 1805, 479, 4069, 4037, 4}));
  EXPECT_EQ(request.max_tokens(), 2048u - 9);
  EXPECT_EQ(request.logprobs(), -1);
  EXPECT_EQ(request.prompt_logprobs(), -1);
  EXPECT_FLOAT_EQ(request.sampling().top_p(), 0.9f);  // generation_config.json
}

TEST_F(GatewayTest, StreamsTheSameText) {
  StartGateway();
  const TestResponse response =
      Chat(R"("temperature": 0, "stream": true, "stream_options": {"include_usage": true})");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.headers.at("content-type"), "text/event-stream");
  const std::vector<std::string> events = response.Events();
  ASSERT_GT(events.size(), 5u);
  EXPECT_EQ(events.back(), "[DONE]");
  const json usage = json::parse(events[events.size() - 2]);
  EXPECT_TRUE(usage["choices"].empty());
  EXPECT_EQ(usage["usage"]["completion_tokens"], 14);
  std::string text;
  for (size_t i = 0; i + 2 < events.size(); ++i) {
    const json chunk = json::parse(events[i]);
    EXPECT_EQ(chunk["object"], "chat.completion.chunk");
    EXPECT_EQ(chunk["id"], usage["id"]);
    EXPECT_TRUE(chunk["usage"].is_null());
    EXPECT_EQ(chunk["choices"][0]["delta"].contains("role"), i == 0);
    text += chunk["choices"][0]["delta"].value("content", "");
    EXPECT_EQ(chunk["choices"][0]["finish_reason"].is_null(), i + 3 < events.size());
  }
  EXPECT_EQ(text, kAnswerText);
}

TEST_F(GatewayTest, CompletionKeepsTheSpaceBeforeItsFirstWord) {
  StartGateway();
  const json answer = Ok(Complete(R"("temperature": 0, "max_tokens": 3)"));
  EXPECT_EQ(answer["object"], "text_completion");
  EXPECT_EQ(answer["choices"][0]["text"], " I am not");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "length");
  const json echoed = Ok(Complete(R"("temperature": 0, "max_tokens": 3, "echo": true)"));
  EXPECT_EQ(echoed["choices"][0]["text"], "Hark I am not");
}

TEST_F(GatewayTest, StopStringsEndTheTextAcrossTokens) {
  FakeRouterWorker& worker = AddWorker();
  StartGateway();
  for (const char* stop : {R"(["zz", "ad, si"])", R"("ad, si")"}) {
    for (const char* stream : {"true", "false"}) {
      const TestResponse response =
          Complete(std::string(R"("temperature": 0, "max_tokens": 30, "stop": )") + stop +
                   ", \"stream\": " + stream);
      std::string text;
      json last;
      if (response.headers.at("content-type") == "text/event-stream") {
        for (const std::string& event : response.Events()) {
          if (event == "[DONE]") continue;
          last = json::parse(event)["choices"][0];
          text += last["text"].get<std::string>();
          EXPECT_EQ(text, std::string(" I am not m").substr(0, text.size()));
        }
      } else {
        last = Ok(response)["choices"][0];
        text = last["text"];
      }
      EXPECT_EQ(text, " I am not m");
      EXPECT_EQ(last["finish_reason"], "stop");
      EXPECT_EQ(last["stop_reason"], "ad, si");
    }
  }
  EXPECT_TRUE(Eventually([&] { return worker.running() == 0; }));
  const json with = Ok(Complete(
      R"("temperature": 0, "max_tokens": 30, "stop": "mad", "include_stop_str_in_output": true)"));
  EXPECT_EQ(with["choices"][0]["text"], " I am not mad");
  const json token = Ok(Complete(R"("temperature": 0, "max_tokens": 30, "stop_token_ids": [549])"));
  EXPECT_EQ(token["choices"][0]["text"], " I am not");
  EXPECT_EQ(token["choices"][0]["stop_reason"], 549);
}

TEST_F(GatewayTest, CompletionLogprobs) {
  StartGateway();
  const json answer = Ok(Post("/v1/completions",
                              R"({"prompt": [[1, 705, 1805]], "max_tokens": 1, "logprobs": 1,
                                  "echo": true, "temperature": 0})"));
  const json& logprobs = answer["choices"][0]["logprobs"];
  EXPECT_EQ(answer["choices"][0]["text"], "Who goes I");
  EXPECT_EQ(logprobs["tokens"], json({"<s>", " Who", " goes", " I"}));
  EXPECT_EQ(logprobs["token_logprobs"], json({nullptr, -1.25, -2.25, -0.25}));
  EXPECT_EQ(logprobs["text_offset"], json({0, 3, 7, 12}));
  EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
  EXPECT_EQ(logprobs["top_logprobs"][1], json({{" Who", -1.25}}));
  const json prompt_only = Ok(Post(
      "/v1/completions", R"({"prompt": [1, 705], "max_tokens": 0, "logprobs": 0, "echo": true})"));
  EXPECT_EQ(prompt_only["choices"][0]["logprobs"]["token_logprobs"], json({nullptr, -1.25}));
  EXPECT_EQ(prompt_only["usage"]["completion_tokens"], 0);
}

TEST_F(GatewayTest, ChatLogprobs) {
  StartGateway();
  const json answer =
      Ok(Chat(R"("temperature": 0, "max_tokens": 2, "logprobs": true, "top_logprobs": 2,
                 "prompt_logprobs": 0)"));
  const json& content = answer["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 2u);
  EXPECT_EQ(content[0]["token"], " I");
  EXPECT_EQ(content[0]["bytes"], json({32, 73}));
  EXPECT_EQ(content[0]["logprob"], -0.25);
  EXPECT_EQ(content[0]["top_logprobs"].size(), 2u);
  EXPECT_EQ(answer["choices"][0]["prompt_logprobs"].size(), 9u);
}

TEST_F(GatewayTest, ChoicesAndPromptsHaveTheirOwnSeeds) {
  FakeRouterWorker& worker = AddWorker();
  StartGateway();
  const std::string body =
      R"({"prompt": ["a", "b"], "n": 2, "seed": 5, "temperature": 1, "max_tokens": 4})";
  const json first = Ok(Post("/v1/completions", body));
  ASSERT_EQ(first["choices"].size(), 4u);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(first["choices"][i]["index"], i);
  EXPECT_NE(first["choices"][0]["text"], first["choices"][1]["text"]);
  EXPECT_EQ(first["choices"][0]["text"], first["choices"][2]["text"]);
  EXPECT_EQ(first["choices"], Ok(Post("/v1/completions", body))["choices"]);
  const json one = Ok(
      Post("/v1/completions", R"({"prompt": "a", "seed": 5, "temperature": 1, "max_tokens": 4})"));
  EXPECT_EQ(one["choices"][0]["text"], first["choices"][0]["text"]);
  EXPECT_EQ(worker.Requests().back().sampling().seed(), 5u);
}

TEST_F(GatewayTest, AStreamGoesOnWhenItsWorkerDies) {
  // Whichever has the request breaks off after some tokens; the other takes it up. Then that one
  // breaks.
  const FakeBehaviour behaviour{.script = kAnswer, .die_after = 3};
  AddWorker(behaviour);
  AddWorker(behaviour);
  StartGateway();
  for (const char* stream : {"false", "true"}) {
    const TestResponse response =
        Chat(std::string(R"("temperature": 0, "logprobs": true, "stream": )") + stream);
    std::string text;
    size_t logprobs = 0;
    if (response.headers.at("content-type") == "text/event-stream") {
      for (const std::string& event : response.Events()) {
        if (event == "[DONE]") continue;
        const json choice = json::parse(event)["choices"][0];
        text += choice["delta"].value("content", "");
        logprobs += choice["logprobs"]["content"].size();
      }
    } else {
      const json choice = Ok(response)["choices"][0];
      text = choice["message"]["content"];
      logprobs = choice["logprobs"]["content"].size();
    }
    EXPECT_EQ(text, kAnswerText);
    EXPECT_EQ(logprobs, kAnswer.size());
  }
  const auto requests = workers_[0]->Requests();
  EXPECT_TRUE(std::any_of(requests.begin(), requests.end(),
                          [](const auto& request) { return request.generated_ids_size() >= 3; }));
}

TEST_F(GatewayTest, ASessionGoesToTheWorkerThatHoldsItsPrefix) {
  AddWorker();
  AddWorker();
  StartGateway();
  std::string ids = "1";
  for (int i = 0; i < 40; ++i) ids += ", " + std::to_string(500 + i);
  for (int turn = 0; turn < 5; ++turn) {
    Ok(Post("/v1/completions", "{\"prompt\": [" + ids + "], \"temperature\": 0}"));
    ids += ", 7, 8, 9";
  }
  const size_t first = workers_[0]->Requests().size();
  EXPECT_TRUE(first == 0 || first == 5) << first;
}

TEST_F(GatewayTest, ADisconnectCancels) {
  FakeRouterWorker& worker =
      AddWorker({.script = {277}, .token_delay = std::chrono::milliseconds(20)});
  StartGateway();
  int cancelled = 0;
  for (const char* stream : {"true", "false"}) {
    TestConnection connection(server_->port());
    connection.Send(RequestText("POST", "/v1/completions",
                                std::string(R"({"prompt": "x", "max_tokens": 2000, "temperature": 0,
                                    "n": 2, "stream": )") +
                                    stream + "}"));
    ASSERT_TRUE(Eventually([&] { return worker.running() == 2; }));
    connection.Close();
    cancelled += 2;
    EXPECT_TRUE(Eventually([&] { return worker.running() == 0; }));
    EXPECT_EQ(worker.cancelled(), cancelled);
  }
  EXPECT_NE(Get("/metrics").body.find("finished_reason=\"abort\"} 2"), std::string::npos);
}

TEST_F(GatewayTest, WorkerErrorsBecomeHttpErrors) {
  FakeRouterWorker& worker = AddWorker();
  StartGateway();
  const auto answer = [&](const absl::Status& status) {
    worker.SetBehaviour({.refuse = status});
    return Complete(R"("temperature": 0)");
  };
  EXPECT_EQ(answer(absl::InvalidArgumentError("top_k: no")).status, 400);
  const TestResponse full = answer(absl::ResourceExhaustedError("queue at 10.0.0.1 is full"));
  EXPECT_EQ(full.status, 503);
  EXPECT_EQ(full.headers.at("retry-after"), "1");
  EXPECT_EQ(full.body.find("10.0.0.1"), std::string::npos);
  const TestResponse failed = answer(absl::InternalError("/srv/secret/path failed"));
  EXPECT_EQ(failed.status, 500);
  EXPECT_EQ(failed.body.find("secret"), std::string::npos);
}

TEST_F(GatewayTest, AnErrorAfterTheFirstTokenIsAnEvent) {
  FakeRouterWorker& worker =
      AddWorker({.script = kAnswer, .token_delay = std::chrono::milliseconds(5), .die_after = 2});
  StartGateway();
  TestConnection connection(server_->port());
  connection.Send(RequestText("POST", "/v1/completions",
                              R"({"prompt": "x", "temperature": 0, "stream": true})"));
  ASSERT_TRUE(connection.WaitFor("data: "));
  worker.SetBehaviour({.refuse = absl::InternalError("broken")});
  const auto events = connection.Receive().Events();
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(json::parse(events.back())["error"]["type"], "server_error");
}

TEST_F(GatewayTest, WithoutAWorkerRequestsAreTurnedAway) {
  AddWorker().SetReady(false);
  GatewayOptions options{.model_folder = folder_, .port = 0};
  options.router_addresses = {workers_[0]->address()};
  auto server = GatewayServer::Start(std::move(options));
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = std::make_unique<GatewayServer>(*std::move(server));
  EXPECT_EQ(Get("/health").status, 503);
  const TestResponse refused = Complete(R"("temperature": 0)");
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.headers.at("retry-after"), "1");
  workers_[0]->SetReady(true);
  EXPECT_TRUE(Eventually([this] { return Get("/health").status == 200; }));
}

TEST_F(GatewayTest, PromptsOverTheLimitNeverReachAWorker) {
  FakeRouterWorker& worker = AddWorker();
  StartGateway();
  std::string ids = "1";
  for (int i = 0; i < 2047; ++i) ids += ",7";
  const TestResponse longer = Post("/v1/completions", "{\"prompt\": [" + ids + "]}");
  EXPECT_EQ(longer.status, 400);
  const json error = json::parse(longer.body)["error"];
  EXPECT_EQ(error["param"], "prompt");
  EXPECT_EQ(error["code"], "context_length_exceeded");
  EXPECT_EQ(Complete(R"("max_tokens": 2048)").status, 400);
  const std::string text = "{\"prompt\": \"" + std::string(7 << 20, 'x') + "\"}";
  const TestResponse huge = Post("/v1/completions", text);
  EXPECT_EQ(huge.status, 400);
  EXPECT_EQ(json::parse(huge.body)["error"]["code"], "context_length_exceeded");
  EXPECT_EQ(Post("/v1/completions", std::string(9 << 20, 'x')).status, 413);
  EXPECT_TRUE(worker.Requests().empty());
  const std::string cut =
      "{\"prompt\": [" + ids + "], \"truncate_prompt_tokens\": 4, \"temperature\": 0}";
  EXPECT_EQ(Ok(Post("/v1/completions", cut))["usage"]["prompt_tokens"], 4);
}

TEST_F(GatewayTest, TemplateErrorsAreTheClientsFault) {
  StartGateway();
  const TestResponse response =
      Post("/v1/chat/completions", R"({"messages": [{"role": "critic", "content": "x"}]})");
  EXPECT_EQ(response.status, 400);
  const json error = json::parse(response.body)["error"];
  EXPECT_EQ(error["message"], "Only user and assistant roles are supported");
  EXPECT_EQ(error["param"], "messages");
}

TEST_F(GatewayTest, TokenizeAndDetokenize) {
  StartGateway();
  EXPECT_EQ(Ok(Post("/tokenize", R"({"prompt": "Who goes"})"))["tokens"], json({1, 705, 1805}));
  EXPECT_EQ(
      Ok(Post("/tokenize", R"({"prompt": "Who goes", "add_special_tokens": false})"))["count"], 2);
  EXPECT_EQ(Ok(Post("/tokenize", std::string("{") + kQuestion + "}"))["count"], 9);
  EXPECT_EQ(Ok(Post("/detokenize", R"({"tokens": [1, 705, 1805]})"))["prompt"], "Who goes");
  EXPECT_EQ(Post("/detokenize", R"({"tokens": [4096]})").status, 400);
  EXPECT_EQ(Post("/detokenize", R"({"tokens": "x"})").status, 400);
  EXPECT_EQ(Post("/tokenize", "{}").status, 400);
}

TEST_F(GatewayTest, ModelsVersionAndMetrics) {
  StartGateway();
  Ok(Complete(R"("temperature": 0, "max_tokens": 3)"));
  const json models = Ok(Get("/v1/models"));
  EXPECT_EQ(models["data"][0]["id"], "demo");
  EXPECT_EQ(models["data"][0]["max_model_len"], 2048);
  EXPECT_EQ(Ok(Get("/v1/models/demo"))["id"], "demo");
  EXPECT_EQ(Get("/v1/models/other").status, 404);
  EXPECT_TRUE(Ok(Get("/version"))["version"].is_string());
  const std::string metrics = Get("/metrics").body;
  for (const char* line :
       {"switchyard_requests_running 0", "switchyard_requests_waiting 0",
        "switchyard_generation_tokens_total 3", "switchyard_prefix_cache_queries_total 100",
        "switchyard_prefix_cache_hits_total 40", "switchyard_preemptions_total 0",
        "switchyard_request_success_total{finished_reason=\"length\"} 1",
        "switchyard_time_to_first_token_seconds_count 1",
        "switchyard_inter_token_latency_seconds_count 2",
        "switchyard_e2e_request_latency_seconds_count 1", "} 0.25"}) {
    EXPECT_NE(metrics.find(line), std::string::npos) << line << "\n" << metrics;
  }
}

TEST_F(GatewayTest, EveryRouteAndSpellingNeedsAKeyButHealth) {
  StartGateway({"first-key", "second-key"});
  EXPECT_EQ(Get("/health").status, 200);
  for (const char* method : {"GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE"}) {
    for (const char* path : {"/v1/models",
                             "/v1/models/demo",
                             "/v1/completions",
                             "/v1/chat/completions",
                             "/tokenize",
                             "/detokenize",
                             "/metrics",
                             "/version",
                             "/",
                             "/nothing",
                             "//v1/models",
                             "/v1/models/",
                             "/v1//models",
                             "/V1/MODELS",
                             "/v1/%6dodels",
                             "/%2e/v1/models",
                             "/v1/models?x=/health",
                             "/health/",
                             "//health",
                             "/Health",
                             "/health/../v1/models",
                             "/health%2f..%2fv1/models",
                             "http://h/v1/models",
                             "http://h/health"}) {
      for (const char* header :
           {"X: y", "Authorization: Bearer wrong", "Authorization: Bearer first-ke",
            "Authorization: first-key", "Authorization: Basic first-key"}) {
        EXPECT_EQ(Fetch(server_->port(), method, path, "", {header}).status, 401)
            << method << " " << path << " " << header;
      }
    }
  }
  for (const char* key : {"first-key", "second-key"}) {
    const std::string header = std::string("Authorization: Bearer ") + key;
    EXPECT_EQ(Fetch(server_->port(), "GET", "/v1/models", "", {header}).status, 200);
    EXPECT_EQ(Fetch(server_->port(), "GET", "//v1/models", "", {header}).status, 404);
    EXPECT_EQ(Fetch(server_->port(), "GET", "/v1/models/", "", {header}).status, 404);
    EXPECT_EQ(Fetch(server_->port(), "DELETE", "/v1/models", "", {header}).status, 405);
  }
  const TestResponse refused = Fetch(server_->port(), "POST", "/v1/completions", "{}",
                                     {"Authorization: Bearer my-secret-guess"});
  EXPECT_EQ(refused.body.find("my-secret-guess"), std::string::npos);
  EXPECT_EQ(json::parse(refused.body)["error"]["code"], "invalid_api_key");
}

TEST_F(GatewayTest, BadBodiesGet400AndNameTheField) {
  StartGateway();
  std::string deep = R"({"prompt": "x", "stop": )" + std::string(100000, '[');
  for (const auto& [body, param] : std::vector<std::pair<std::string, json>>{
           {R"({"prompt": "x", "temperature": NaN})", "temperature"},
           {R"({"prompt": "x", "n": -1})", "n"},
           {R"({"prompt": "x", "n": 2147483648})", "n"},
           {R"({"prompt": "x", "max_tokens": -5})", "max_tokens"},
           {R"({"prompt": "x", "max_tokens": 2147483648})", "max_tokens"},
           {"{\"prompt\": \"x\", \"user\": \"\xFF\xFE\"}", "user"},
           {deep, "stop"},
           {"", nullptr},
           {"[]", nullptr},
           {R"({"prompt": ")" + std::string("\xC3") + "\"}", "prompt"}}) {
    const TestResponse response = Post("/v1/completions", body);
    EXPECT_EQ(response.status, 400) << body.substr(0, 60);
    const json error = json::parse(response.body)["error"];
    EXPECT_EQ(error["param"], param) << body.substr(0, 60) << error;
    EXPECT_EQ(error["type"], "invalid_request_error");
    EXPECT_TRUE(error["message"].is_string());
  }
  EXPECT_TRUE(workers_[0]->Requests().empty());
}

TEST_F(GatewayTest, RequestIdsAreEchoedOrMade) {
  StartGateway();
  const auto with = [&](const std::string& id) {
    return Fetch(server_->port(), "GET", "/v1/models", "", {"X-Request-Id: " + id})
        .headers.at("x-request-id");
  };
  EXPECT_EQ(with("my-id.7"), "my-id.7");
  EXPECT_NE(with("bad id"), "bad id");
  EXPECT_FALSE(Get("/nothing").headers.at("x-request-id").empty());
  const TestResponse text =
      Fetch(server_->port(), "POST", "/v1/completions",
            R"({"prompt": "x", "temperature": 0, "stream": true})", {"X-Request-Id: s-1"});
  EXPECT_EQ(text.headers.at("x-request-id"), "s-1");
}

TEST_F(GatewayTest, DrainFinishesWhatRunsAndTakesNothingNew) {
  AddWorker({.script = kAnswer, .token_delay = std::chrono::milliseconds(20)});
  StartGateway();
  TestConnection running(server_->port());
  running.Send(RequestText("POST", "/v1/completions",
                           R"({"prompt": "x", "temperature": 0, "stream": true})"));
  ASSERT_TRUE(running.WaitFor("data: "));
  TestConnection idle(server_->port());
  idle.Send(RequestText("GET", "/health"));
  EXPECT_EQ(idle.Receive().status, 200);
  bool all_done = false;
  std::thread drain([&] { all_done = server_->Drain(std::chrono::seconds(20)); });
  EXPECT_TRUE(Eventually([&] {
    idle.Send(RequestText("GET", "/health"));
    return idle.Receive().status == 503;
  }));
  EXPECT_EQ(running.Receive().Events().back(), "[DONE]");
  drain.join();
  EXPECT_TRUE(all_done);
}

TEST(LoadApiKeysTest, ReadsFileAndList) {
  const std::string path = ::testing::TempDir() + "/keys";
  std::ofstream(path) << "# a comment\n one \n\ntwo\r\n";
  const auto keys = LoadApiKeys(path, "three, four,");
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_EQ(*keys, (std::vector<std::string>{"three", "four", "one", "two"}));
  EXPECT_TRUE(LoadApiKeys("", "")->empty());
  std::ofstream(path, std::ios::trunc) << "# nothing\n";
  EXPECT_FALSE(LoadApiKeys(path, "").ok());
  EXPECT_FALSE(LoadApiKeys("/nonexistent", "").ok());
}

}  // namespace
}  // namespace switchyard::gateway
