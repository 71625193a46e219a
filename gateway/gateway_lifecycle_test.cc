// How a gateway starts, with its keys, and how it drains.

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "gateway/gateway_fixture.h"

namespace switchyard::gateway {
namespace {

using testing::Eventually;
using testing::GatewayTest;
using testing::kAnswer;
using testing::RequestText;
using testing::TestConnection;
using testing::TestResponse;

TEST_F(GatewayTest, DrainFinishesWhatRunsAndTakesNothingNew) {
  AddWorker({.script = kAnswer, .token_delay = std::chrono::milliseconds(20)});
  StartGateway();
  TestConnection running(server_->port());
  running.Send(RequestText("POST", "/v1/completions",
                           R"({"prompt": "x", "temperature": 0, "stream": true})"));
  ASSERT_TRUE(running.WaitFor("data: "));
  TestConnection polled(server_->port());
  TestConnection late(server_->port());
  for (TestConnection* connection : {&polled, &late}) {
    connection->Send(RequestText("GET", "/health"));
    EXPECT_EQ(connection->Receive().status, 200);
  }
  bool all_done = false;
  std::thread drain([&] { all_done = server_->Drain(std::chrono::seconds(20)); });
  EXPECT_TRUE(Eventually([&] {
    polled.Send(RequestText("GET", "/health"));
    return polled.Receive().headers["connection"] == "close";
  }));
  late.Send(RequestText("GET", "/health"));
  EXPECT_EQ(late.Receive().status, 503);
  EXPECT_TRUE(late.Ended());
  EXPECT_EQ(running.Receive().Events().back(), "[DONE]");
  drain.join();
  EXPECT_TRUE(all_done);
}

// A load balancer has to see it before connections are refused.
TEST_F(GatewayTest, AnOpenGatewayTellsThatItDrainsBeforeItStopsListening) {
  host_ = "0.0.0.0";
  StartGateway();
  const auto start = std::chrono::steady_clock::now();
  std::thread drain([&] { EXPECT_TRUE(server_->Drain(std::chrono::seconds(20))); });
  EXPECT_TRUE(Eventually([&] { return Get("/health").status == 503; }));
  EXPECT_EQ(Complete(R"("temperature": 0)").status, 503);
  drain.join();
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

TEST_F(GatewayTest, DrainWaitsForABodyThatIsUnderWay) {
  StartGateway();
  TestConnection connection(server_->port());
  connection.Send(
      "POST /v1/completions HTTP/1.1\r\nContent-Length: 20\r\nExpect: 100-continue\r\n\r\n");
  ASSERT_TRUE(connection.WaitFor("100 Continue\r\n\r\n"));
  std::thread drain([&] { EXPECT_TRUE(server_->Drain(std::chrono::seconds(20))); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  connection.Send(R"({"prompt": "Who go"})");
  EXPECT_TRUE(connection.WaitFor("HTTP/1.1 503"));
  drain.join();
}

TEST(GatewayServerTest, SamplingDefaultsMustBeInRange) {
  const std::string folder = ::testing::TempDir() + "/defaults";
  std::filesystem::create_directory(folder);
  const auto starts = [&](const char* config) {
    std::ofstream(folder + "/generation_config.json") << config;
    return GatewayServer::Start(
               {.model_folder = folder, .port = 0, .router_addresses = {"127.0.0.1:1"}})
        .ok();
  };
  EXPECT_TRUE(starts(R"({"top_k": 50, "top_p": 0.9, "repetition_penalty": 1.1, "min_p": 0.05})"));
  for (const char* config :
       {R"({"top_k": 1e12})", R"({"top_k": -1})", R"({"top_p": 0})", R"({"temperature": -1})",
        R"({"min_p": 2})", R"({"repetition_penalty": 0})", "[]"}) {
    EXPECT_FALSE(starts(config)) << config;
  }
}

TEST(LoadApiKeysTest, ReadsFileAndList) {
  const std::string path = ::testing::TempDir() + "/keys";
  std::ofstream(path) << "# a comment\n one \n\ntwo\r\n";
  const auto keys = LoadApiKeys(path, "three, #four,");
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_EQ(*keys, (std::vector<std::string>{"three", "#four", "one", "two"}));
  EXPECT_TRUE(LoadApiKeys("", nullptr)->empty());
}

TEST(LoadApiKeysTest, NoUsableKeyOpensNothing) {
  const std::string path = ::testing::TempDir() + "/no_keys";
  std::ofstream(path) << "# nothing\n";
  EXPECT_FALSE(LoadApiKeys(path, nullptr).ok());
  EXPECT_FALSE(LoadApiKeys(path, "key").ok());
  EXPECT_FALSE(LoadApiKeys("/nonexistent", nullptr).ok());
  for (const char* list : {"", " ", ",", " , ,"}) EXPECT_FALSE(LoadApiKeys("", list).ok()) << list;
}

}  // namespace
}  // namespace switchyard::gateway
