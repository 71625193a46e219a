// The gateway over real HTTP, in front of fake router workers.

#include "gateway/gateway_server.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "gateway/gateway_fixture.h"

namespace switchyard::gateway {
namespace {

using testing::Eventually;
using testing::FakeBehaviour;
using testing::FakeRouterWorker;
using testing::Fetch;
using testing::GatewayTest;
using testing::json;
using testing::kAnswer;
using testing::kAnswerText;
using testing::kQuestion;
using testing::RequestText;
using testing::TestConnection;
using testing::TestResponse;

// Between two tokens that are far apart.
TEST_F(GatewayTest, AnIdleStreamIsPinged) {
  ping_interval_ = std::chrono::milliseconds(20);
  AddWorker({.script = kAnswer, .token_delay = std::chrono::milliseconds(700)});
  StartGateway();
  TestConnection connection(server_->port());
  connection.Send(RequestText("POST", "/v1/completions",
                              R"({"prompt": "x", "temperature": 0, "stream": true})"));
  ASSERT_TRUE(connection.WaitFor("data: "));
  EXPECT_TRUE(connection.WaitFor("\n: ping\n\n"));
}

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
  EXPECT_EQ(Ok(Post("/tokenize", R"({"prompt": "Who goes", "messages": null})"))["count"], 3);
}

TEST_F(GatewayTest, ATruncatedPromptIsEchoedAsItIs) {
  StartGateway();
  const auto complete = [&](const std::string& prompt) {
    return Ok(Post("/v1/completions",
                   "{\"prompt\": " + prompt +
                       R"(, "echo": true, "truncate_prompt_tokens": 2, "temperature": 0})"));
  };
  for (const char* prompt : {"\"Hark! Who goes\"", "[1, 500, 705, 1805]"}) {
    const json answer = complete(prompt);
    EXPECT_EQ(answer["usage"]["prompt_tokens"], 2);
    const std::string text = answer["choices"][0]["text"];
    EXPECT_TRUE(text.starts_with("Who goes")) << text;
  }
  // Too long to be served, but its end is not.
  const json answer = complete("\"" + std::string(4 << 20, 'x') + " Who goes\"");
  EXPECT_TRUE(answer["choices"][0]["text"].get<std::string>().starts_with("Who goes"));
  const json chat =
      Ok(Post("/v1/chat/completions",
              R"({"messages": [{"role": "user", "content": ")" + std::string(4 << 20, 'x') +
                  R"("}], "truncate_prompt_tokens": 5, "temperature": 0})"));
  EXPECT_EQ(chat["usage"]["prompt_tokens"], 5);
}

TEST_F(GatewayTest, ModelsVersionAndMetrics) {
  StartGateway();
  Ok(Complete(R"("temperature": 0, "max_tokens": 3)"));
  const json models = Ok(Get("/v1/models"));
  EXPECT_EQ(models["data"][0]["id"], "demo");
  EXPECT_EQ(models["data"][0]["max_model_len"], 2048);
  EXPECT_EQ(Ok(Get("/v1/models/demo"))["id"], "demo");
  EXPECT_EQ(Ok(Get("/v1/models/d%65mo"))["id"], "demo");
  EXPECT_EQ(Get("/v1/models/other").status, 404);
  EXPECT_EQ(Get("/v1/models/demo%").status, 404);
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

}  // namespace
}  // namespace switchyard::gateway
