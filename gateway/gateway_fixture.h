#pragma once

// The gateway over real HTTP, in front of fake router workers, with the demo model's tokenizer.

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bazel/fixtures/fixtures.h"
#include "gateway/gateway_server.h"
#include "gateway/testing/fake_router_worker.h"
#include "gateway/testing/http_test_client.h"

namespace switchyard::gateway::testing {

using nlohmann::json;

// "I am not mad, sir, and I am a gentleman." and the end token.
inline const std::vector<int32_t> kAnswer = {277, 447, 326, 549, 4052, 476,  4052,
                                             299, 277, 447, 263, 1123, 4059, 2};
inline constexpr char kAnswerText[] = "I am not mad, sir, and I am a gentleman.";
inline constexpr char kQuestion[] =
    R"("messages": [{"role": "user", "content": "Who goes there?"}])";

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
    GatewayOptions options{.model_folder = folder_,
                           .host = host_,
                           .port = 0,
                           .api_keys = std::move(api_keys),
                           .ping_interval = ping_interval_};
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
  std::string host_ = "127.0.0.1";
  Duration ping_interval_ = std::chrono::seconds(15);
  std::vector<std::unique_ptr<FakeRouterWorker>> workers_;
  std::unique_ptr<GatewayServer> server_;
};

}  // namespace switchyard::gateway::testing
