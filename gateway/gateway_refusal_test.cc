// What the gateway refuses: keys, bodies and prompts, on every route.

#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gateway/gateway_fixture.h"

namespace switchyard::gateway {
namespace {

using testing::FakeRouterWorker;
using testing::Fetch;
using testing::GatewayTest;
using testing::json;
using testing::TestConnection;
using testing::TestResponse;

const std::string kKey = "Authorization: Bearer first-key";

// Responses with a status, as /metrics counts them.
int Counted(const std::string& metrics, int status) {
  const std::string name =
      "switchyard_http_responses_total{code=\"" + std::to_string(status) + "\"} ";
  const size_t at = metrics.find(name);
  return at == std::string::npos ? 0 : std::stoi(metrics.substr(at + name.size()));
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
                             "/openapi.json",
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

// Nothing that is nearly a key, or a key in another place, is one; on every route.
TEST_F(GatewayTest, NearlyAKeyIsNoKey) {
  StartGateway({"first-key", "second-key"});
  const auto metrics = [&] { return Fetch(server_->port(), "GET", "/metrics", "", {kKey}).body; };
  const int before = Counted(metrics(), 401);
  int refused = 0;
  for (const auto& [method, path] :
       std::vector<std::pair<std::string, std::string>>{{"GET", "/v1/models"},
                                                        {"GET", "/v1/models/demo"},
                                                        {"GET", "/metrics"},
                                                        {"GET", "/version"},
                                                        {"GET", "/openapi.json"},
                                                        {"POST", "/v1/completions"},
                                                        {"POST", "/v1/chat/completions"},
                                                        {"POST", "/tokenize"},
                                                        {"POST", "/detokenize"}}) {
    for (const std::vector<std::string>& headers :
         std::vector<std::vector<std::string>>{{},
                                               {"Authorization:"},
                                               {"Authorization: Bearer"},
                                               {"Authorization: Bearer first-key2"},
                                               {"Authorization: Bearer irst-key"},
                                               {"Authorization: Bearer First-key"},
                                               {"Authorization: Bearer FIRST-KEY"},
                                               {"Authorization: Bearer first_key"},
                                               {"Authorization: Bearer  first-key"},
                                               {"Authorization: Bearer \"first-key\""},
                                               {"Authorization: Bearer first-key,second-key"},
                                               {"Authorization: Bearer first-key second-key"},
                                               {"Authorization: Bearer first-key\xC2\xA0"},
                                               {"Authorization: Bearer first%2Dkey"},
                                               {"Authorization: Bearer first-keysecond-key"},
                                               {"Authorization: Bearer:first-key"},
                                               {"Authorization: Token first-key"},
                                               {"Authorization: Bearer wrong", kKey},
                                               {"X-Api-Key: first-key"},
                                               {"Api-Key: first-key"},
                                               {"Proxy-Authorization: Bearer first-key"},
                                               {"Cookie: Authorization=Bearer first-key"}}) {
      const TestResponse response = Fetch(server_->port(), method, path, "", headers);
      EXPECT_EQ(response.status, 401)
          << path << " " << (headers.empty() ? "no header" : headers.front());
      ++refused;
    }
    EXPECT_EQ(Fetch(server_->port(), method, path + "?api_key=first-key&key=first-key").status,
              401);
    ++refused;
    EXPECT_NE(Fetch(server_->port(), method, path, "{}", {kKey}).status, 401) << path;
  }
  EXPECT_EQ(Counted(metrics(), 401), before + refused);
  EXPECT_TRUE(workers_[0]->Requests().empty());
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

TEST_F(GatewayTest, EveryRouteWithABodyRefusesBadOnes) {
  StartGateway();
  const int before = Counted(Get("/metrics").body, 400);
  const std::string chat = R"({"messages": [{"role": "user", "content": "x"}], )";
  const std::string completion = R"({"prompt": "x", )";
  int refused = 0;
  const auto expect = [&](const std::string& path, const std::string& body, const json& param) {
    const TestResponse response = Post(path, body);
    EXPECT_EQ(response.status, 400) << path << " " << body.substr(0, 80);
    EXPECT_EQ(json::parse(response.body)["error"]["param"], param)
        << path << " " << body.substr(0, 80) << response.body;
    ++refused;
  };
  for (const char* path : {"/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"}) {
    expect(path, R"({"deep": )" + std::string(100'000, '['), "deep");
    std::string objects;
    for (int depth = 0; depth < 100'000; ++depth) objects += "{\"a\":";
    expect(path, objects, "a");
    expect(path, "{\"user\": \"\xFF\"}", "user");
    expect(path, "{\"\xED\xA0\x80\": 1}", nullptr);
    expect(path, R"({"temperature": NaN})", "temperature");
    expect(path, "", nullptr);
    expect(path, "[]", nullptr);
  }
  for (const auto& [path, start, limit] :
       {std::tuple{"/v1/completions", completion, "max_tokens"},
        std::tuple{"/v1/chat/completions", chat, "max_tokens"},
        std::tuple{"/v1/chat/completions", chat, "max_completion_tokens"}}) {
    for (const std::string field : {"n", limit}) {
      for (const char* value :
           {"-1", "-2147483648", "2147483647", "2147483648", "4294967296", "9223372036854775808",
            "18446744073709551615", "1e10", "1.5", "\"1\"", "[1]"}) {
        expect(path, start + "\"" + field + "\": " + value + "}", field);
      }
    }
    for (const char* value : {"NaN", "-NaN", "Infinity", "-Infinity", "1e999", "-0.5", "null1"}) {
      expect(path, start + "\"temperature\": " + value + "}", "temperature");
    }
  }
  EXPECT_EQ(Counted(Get("/metrics").body, 400), before + refused);
  EXPECT_TRUE(workers_[0]->Requests().empty());
}

TEST_F(GatewayTest, OnlyJsonIsReadAndOnlyByItsMethod) {
  StartGateway();
  const auto post = [&](const std::string& header) {
    return Fetch(server_->port(), "POST", "/tokenize", R"({"prompt": "x"})", {header}).status;
  };
  for (const char* header :
       {"X: y", "Content-Type: application/json", "Content-Type: Application/JSON; charset=utf-8",
        "Content-Encoding: identity"}) {
    EXPECT_EQ(post(header), 200) << header;
  }
  for (const char* header : {"Content-Type: text/plain", "Content-Type: application/jsonx",
                             "Content-Type: application/x-www-form-urlencoded", "Content-Type: ;",
                             "Content-Encoding: gzip"}) {
    EXPECT_EQ(post(header), 415) << header;
  }
  for (const auto& [method, path, allow] :
       std::vector<std::tuple<std::string, std::string, std::string>>{
           {"POST", "/health", "GET, HEAD"},
           {"DELETE", "/v1/models/demo", "GET, HEAD"},
           {"GET", "/v1/completions", "POST"},
           {"HEAD", "/v1/completions", "POST"}}) {
    TestConnection connection(server_->port());
    connection.Send(testing::RequestText(method, path));
    const TestResponse response = connection.Receive(method == "HEAD");
    EXPECT_EQ(response.status, 405) << method << " " << path;
    EXPECT_EQ(response.headers.at("allow"), allow) << method << " " << path;
  }
  TestConnection head(server_->port());
  head.Send(testing::RequestText("HEAD", "/v1/models"));
  const TestResponse answer = head.Receive(/*to_head=*/true);
  EXPECT_EQ(answer.status, 200);
  EXPECT_NE(answer.headers.at("content-length"), "0");
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

TEST_F(GatewayTest, ChatsAndListsOverTheLimitNeverReachAWorker) {
  FakeRouterWorker& worker = AddWorker();
  StartGateway();
  const auto refused = [&](const std::string& path, const std::string& body, const char* param) {
    const TestResponse response = Post(path, body);
    EXPECT_EQ(response.status, 400) << body.substr(0, 60);
    const json error = json::parse(response.body)["error"];
    EXPECT_EQ(error["param"], param) << error;
    EXPECT_EQ(error["code"], "context_length_exceeded");
    EXPECT_NE(error["message"].get<std::string>().find("2048"), std::string::npos) << error;
  };
  const auto chat = [](size_t words, const std::string& more) {
    std::string text;
    for (size_t i = 0; i < words; ++i) text += " king";
    return R"({"messages": [{"role": "user", "content": ")" + text + "\"}]" + more + "}";
  };
  refused("/v1/chat/completions", chat(3000, ""), "messages");
  refused("/v1/chat/completions", chat(1'000'000, ""), "messages");
  refused("/v1/chat/completions", chat(1, R"(, "max_tokens": 2048)"), "max_tokens");
  std::string ids = "1";
  for (int i = 0; i < 2048; ++i) ids += ",7";
  refused("/v1/completions", "{\"prompt\": [[1, 7], [" + ids + "]]}", "prompt");
  refused("/v1/completions", "{\"prompt\": [\"x\", \"" + std::string(1 << 20, 'x') + "\"]}",
          "prompt");
  EXPECT_TRUE(worker.Requests().empty());
}

TEST_F(GatewayTest, EveryRefusalHasARequestId) {
  StartGateway();
  for (const auto& [bytes, status] : std::vector<std::pair<std::string, int>>{
           {"nonsense\r\n\r\n", 400},
           {"POST /v1/completions HTTP/1.1\r\nContent-Length: 10000000000\r\n\r\n", 413},
           {"GET / HTTP/1.1\r\nX: " + std::string(1 << 20, 'x') + "\r\n\r\n", 431}}) {
    TestConnection connection(server_->port());
    connection.Send(bytes);
    const TestResponse response = connection.Receive();
    EXPECT_EQ(response.status, status);
    EXPECT_TRUE(response.headers.contains("x-request-id")) << status;
  }
}

}  // namespace
}  // namespace switchyard::gateway
