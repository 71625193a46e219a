// HTTP itself: limits, bad requests, connections.

#include "gateway/http_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "gateway/testing/http_test_client.h"

namespace switchyard::gateway {
namespace {

using testing::Fetch;
using testing::RequestText;
using testing::TestConnection;

class HttpServerTest : public ::testing::Test {
 protected:
  void Start(HttpServerOptions options = {}) {
    options.max_header_bytes = 4 << 10;
    options.max_body_bytes = 64 << 10;
    HttpHandlers handlers{
        .check_head = [](const HttpRequest& request) -> std::optional<HttpResponse> {
          if (request.path == "/refused") return HttpResponse{.status = 401, .body = "no"};
          return std::nullopt;
        },
        .handle =
            [this](HttpRequest request, std::shared_ptr<HttpExchange> exchange) {
              ++handled_;
              if (request.path == "/never") {
                exchange->OnDisconnect([this] { ++gone_; });
                held_ = std::move(exchange);
              } else if (request.path == "/stream") {
                exchange->StartStream({.content_type = "text/plain"}, "ping\n");
                exchange->Write("one\n");
                held_ = std::move(exchange);
              } else {
                exchange->Send({.body = request.method + " " + request.body});
              }
            },
        .refuse = [](int status) { return HttpResponse{.status = status}; }};
    auto server = HttpServer::Start(options, std::move(handlers));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  // The status of the answer to bytes as they are.
  int Status(const std::string& bytes) {
    TestConnection connection(server_->port());
    connection.Send(bytes);
    return connection.Receive().status;
  }

  std::atomic<int> handled_{0};
  std::atomic<int> gone_{0};
  std::shared_ptr<HttpExchange> held_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, KeepsConnectionsAndAnswersInOrder) {
  Start();
  TestConnection connection(server_->port());
  for (int i = 0; i < 3; ++i) {
    connection.Send(RequestText("POST", "/", "body" + std::to_string(i)));
    EXPECT_EQ(connection.Receive().body, "POST body" + std::to_string(i));
  }
  connection.Send(RequestText("POST", "/", "a") + RequestText("POST", "/", "b") +
                  RequestText("GET", "/refused") + RequestText("POST", "/", "c"));
  EXPECT_EQ(connection.Receive().body, "POST a");
  EXPECT_EQ(connection.Receive().body, "POST b");
  EXPECT_EQ(connection.Receive().status, 401);
  EXPECT_EQ(connection.Receive().body, "POST c");
}

TEST_F(HttpServerTest, ClosesWhenAsked) {
  Start();
  for (const char* text :
       {"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"}) {
    TestConnection connection(server_->port());
    connection.Send(text);
    EXPECT_EQ(connection.Receive().status, 200);
    EXPECT_TRUE(connection.Ended());
  }
}

TEST_F(HttpServerTest, ReadsChunkedBodies) {
  Start();
  TestConnection connection(server_->port());
  connection.Send(
      "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
  EXPECT_EQ(connection.Receive().body, "POST abcde");
}

TEST_F(HttpServerTest, AsksForABodyThatWaits) {
  Start();
  TestConnection connection(server_->port());
  connection.Send("POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  ASSERT_TRUE(connection.WaitFor("HTTP/1.1 100 Continue\r\n\r\n"));
  connection.Send("ab");
  EXPECT_TRUE(connection.WaitFor("POST ab"));
}

TEST_F(HttpServerTest, RefusesWhatIsTooLarge) {
  Start();
  EXPECT_EQ(Status("POST / HTTP/1.1\r\nContent-Length: 10000000000\r\n\r\nx"), 413);
  std::string endless = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 20; ++i) endless += "1000\r\n" + std::string(4096, 'x') + "\r\n";
  EXPECT_EQ(Status(endless), 413);
  EXPECT_EQ(Status("GET / HTTP/1.1\r\nX: " + std::string(1 << 20, 'x') + "\r\n\r\n"), 431);
  std::string many = "GET / HTTP/1.1\r\n";
  for (int i = 0; i < 100000; ++i) many += "X: y\r\n";
  EXPECT_EQ(Status(many + "\r\n"), 431);
  EXPECT_EQ(handled_, 0);
}

TEST_F(HttpServerTest, RefusesWhatIsNoHttp) {
  Start();
  for (const char* bytes :
       {"nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET /\r\n\r\n", "\x16\x03\x01\x02\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabcde\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nx"}) {
    const int status = Status(bytes);
    EXPECT_TRUE(status == 400 || status == 413) << bytes << " " << status;
  }
  EXPECT_EQ(handled_, 0);
}

TEST_F(HttpServerTest, RefusesABodyBeforeItIsRead) {
  Start();
  TestConnection connection(server_->port());
  connection.Send("POST /refused HTTP/1.1\r\nContent-Length: 60000\r\n\r\n");
  EXPECT_EQ(connection.Receive().status, 401);
}

TEST_F(HttpServerTest, SlowClientsTimeOut) {
  Start({.idle_timeout = std::chrono::milliseconds(50),
         .header_timeout = std::chrono::milliseconds(50),
         .body_timeout = std::chrono::milliseconds(50)});
  EXPECT_EQ(Status("GET / HTT"), 408);
  EXPECT_EQ(Status("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab"), 408);
  TestConnection idle(server_->port());
  EXPECT_TRUE(idle.Ended());
}

TEST_F(HttpServerTest, TellsThatAClientIsGone) {
  Start();
  {
    TestConnection connection(server_->port());
    connection.Send(RequestText("GET", "/never"));
    while (handled_ == 0) std::this_thread::yield();
  }
  while (gone_ == 0) std::this_thread::yield();
  int late = 0;
  held_->OnDisconnect([&late] { ++late; });
  EXPECT_EQ(late, 1);
  held_->Send({.body = "to nobody"});
}

TEST_F(HttpServerTest, PingsAnIdleStream) {
  Start({.ping_interval = std::chrono::milliseconds(20)});
  TestConnection connection(server_->port());
  connection.Send(RequestText("GET", "/stream"));
  ASSERT_TRUE(connection.WaitFor("ping"));
  held_->Write("two\n");
  held_->Finish();
  const auto response = connection.Receive();
  EXPECT_TRUE(response.body.starts_with("one\n"));
  EXPECT_TRUE(response.body.ends_with("two\n"));
  connection.Send(RequestText("GET", "/"));  // the connection goes on
  EXPECT_EQ(connection.Receive().body, "GET ");
}

TEST_F(HttpServerTest, DropsAReaderThatIsTooSlow) {
  Start({.max_unsent_bytes = 1 << 20});
  TestConnection connection(server_->port());
  connection.Send(RequestText("GET", "/stream"));
  ASSERT_TRUE(connection.WaitFor("one"));
  std::atomic<bool> gone{false};
  held_->OnDisconnect([&gone] { gone = true; });
  while (!gone) held_->Write(std::string(1 << 16, 'x'));
}

TEST_F(HttpServerTest, ConnectionsBeyondTheLimitAreClosed) {
  Start({.max_connections = 1});
  TestConnection first(server_->port());
  first.Send(RequestText("GET", "/"));
  EXPECT_EQ(first.Receive().status, 200);
  TestConnection second(server_->port());
  EXPECT_TRUE(second.Ended());
}

TEST_F(HttpServerTest, StopsWithRequestsUnderWay) {
  Start();
  TestConnection connection(server_->port());
  connection.Send(RequestText("GET", "/never"));
  while (handled_ == 0) std::this_thread::yield();
  server_.reset();
  EXPECT_EQ(gone_, 1);
  held_->Send({.body = "too late"});
  EXPECT_TRUE(connection.Ended());
}

TEST_F(HttpServerTest, AnAddressInUseIsAnError) {
  Start();
  const auto second = HttpServer::Start({.port = server_->port()}, {});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(HttpServer::Start({.host = "no such host"}, {}).ok());
}

}  // namespace
}  // namespace switchyard::gateway
