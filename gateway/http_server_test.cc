// HTTP itself: limits, bad requests, connections.

#include "gateway/http_server.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
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

// What grows without ever being a body.
TEST_F(HttpServerTest, RefusesEndlessChunkExtensionsAndTrailers) {
  Start();
  const std::string chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::string endless(1 << 20, 'x');
  EXPECT_EQ(Status(chunked + "3;" + endless), 431);
  EXPECT_EQ(Status(chunked + "0\r\n" + endless), 431);
  EXPECT_EQ(Status(chunked + "0\r\nX: " + endless), 431);
  EXPECT_EQ(handled_, 0);
}

TEST_F(HttpServerTest, AHeaderMayComeByteByByte) {
  Start();
  TestConnection connection(server_->port());
  for (const char byte : RequestText("POST", "/", "slow")) {
    connection.Send(std::string_view(&byte, 1));
  }
  EXPECT_EQ(connection.Receive().body, "POST slow");
}

TEST_F(HttpServerTest, ARefusalAfterAStreamIsWhole) {
  Start();
  TestConnection connection(server_->port());
  connection.Send(RequestText("GET", "/stream"));
  ASSERT_TRUE(connection.WaitFor("one"));
  held_->Finish();
  EXPECT_EQ(connection.Receive().status, 200);
  connection.Send(RequestText("GET", "/refused"));
  EXPECT_EQ(connection.Receive().body, "no");
}

TEST_F(HttpServerTest, RefusesWhatIsNoHttp) {
  Start();
  for (const char* bytes :
       {"nonsense\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /\r\n\r\n",
        "\x16\x03\x01\x02\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabcde\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nx",
        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nX: a\r\n\tb\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"}) {
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
  Start({.first_byte_timeout = std::chrono::milliseconds(50),
         .idle_timeout = std::chrono::milliseconds(300),
         .header_timeout = std::chrono::milliseconds(50),
         .body_timeout = std::chrono::milliseconds(50)});
  EXPECT_EQ(Status("GET / HTT"), 408);
  EXPECT_EQ(Status("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab"), 408);
  TestConnection silent(server_->port());
  EXPECT_TRUE(silent.Ended());
  TestConnection idle(server_->port());
  for (int i = 0; i < 2; ++i) {
    idle.Send(RequestText("GET", "/"));
    EXPECT_EQ(idle.Receive().status, 200);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
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

// There is no room to read a disconnect behind so much.
TEST_F(HttpServerTest, DropsAClientThatSendsTooMuchAhead) {
  Start();
  TestConnection connection(server_->port());
  connection.Send(RequestText("GET", "/never"));
  while (handled_ == 0) std::this_thread::yield();
  connection.Send(std::string(256 << 10, 'x'));
  while (gone_ == 0) std::this_thread::yield();
  EXPECT_TRUE(connection.Ended());
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

TEST_F(HttpServerTest, WhenFullTheConnectionThatWaitedLongestIsClosed) {
  Start({.max_connections = 2});
  TestConnection first(server_->port());
  TestConnection second(server_->port());
  for (TestConnection* connection : {&first, &second}) {
    connection->Send(RequestText("GET", "/"));
    EXPECT_EQ(connection->Receive().status, 200);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // both wait for a request again
  TestConnection third(server_->port());
  EXPECT_TRUE(first.Ended());
  third.Send(RequestText("GET", "/"));
  EXPECT_EQ(third.Receive().status, 200);
  second.Send(RequestText("GET", "/"));
  EXPECT_EQ(second.Receive().status, 200);
}

TEST_F(HttpServerTest, WhenFullUnfinishedRequestsMakeRoom) {
  Start({.max_connections = 2});
  TestConnection slow_header(server_->port());
  slow_header.Send("GET / HT");
  TestConnection slow_body(server_->port());
  slow_body.Send("POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  ASSERT_TRUE(slow_body.WaitFor("100 Continue\r\n\r\n"));
  TestConnection first(server_->port());
  EXPECT_TRUE(slow_header.Ended());
  first.Send(RequestText("GET", "/"));
  EXPECT_EQ(first.Receive().status, 200);
  TestConnection second(server_->port());
  EXPECT_TRUE(slow_body.Ended());
  second.Send(RequestText("GET", "/"));
  EXPECT_EQ(second.Receive().status, 200);
}

TEST_F(HttpServerTest, WhenFullOfRequestsFurtherConnectionsAreRefused) {
  Start({.max_connections = 1});
  TestConnection first(server_->port());
  first.Send(RequestText("GET", "/never"));
  while (handled_ == 0) std::this_thread::yield();
  TestConnection second(server_->port());
  EXPECT_EQ(second.Receive().status, 503);
  EXPECT_TRUE(second.Ended());
  EXPECT_EQ(gone_, 0);
}

TEST_F(HttpServerTest, TooManyBodiesAtOnceAreRefused) {
  Start({.max_bodies_bytes = 1000});
  TestConnection first(server_->port());
  const std::string head = "POST / HTTP/1.1\r\nContent-Length: 900\r\nExpect: 100-continue\r\n\r\n";
  first.Send(head);
  ASSERT_TRUE(first.WaitFor("100 Continue\r\n\r\n"));
  first.Send(std::string(600, 'x'));
  // Refused as soon as the first one's bytes have been read.
  int refused = 0;
  for (int i = 0; i < 1000 && refused == 0; ++i) {
    refused = Status(RequestText("POST", "/", std::string(900, 'y'))) == 503 ? 1 : 0;
  }
  EXPECT_EQ(refused, 1);
  first.Send(std::string(300, 'x'));
  EXPECT_TRUE(first.WaitFor("HTTP/1.1 200"));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Status(RequestText("POST", "/", std::string(900, 'z'))), 200);
  }
}

TEST_F(HttpServerTest, RaisesTheLimitOfDescriptors) {
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 128);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  Start();
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(limit.rlim_cur, limit.rlim_max);
}

TEST_F(HttpServerTest, LastAnswersEndTheirConnections) {
  Start();
  TestConnection connection(server_->port());
  connection.Send(RequestText("GET", "/"));
  EXPECT_EQ(connection.Receive().headers.at("connection"), "keep-alive");
  server_->CloseAfterAnswers();
  connection.Send(RequestText("GET", "/"));
  EXPECT_EQ(connection.Receive().headers.at("connection"), "close");
  EXPECT_TRUE(connection.Ended());
}

TEST_F(HttpServerTest, ARequestIsInProgressFromItsHeader) {
  Start();
  TestConnection connection(server_->port());
  connection.Send("POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  ASSERT_TRUE(connection.WaitFor("100 Continue\r\n\r\n"));
  EXPECT_FALSE(server_->WaitIdle(std::chrono::milliseconds(20)));
  connection.Send("ab");
  ASSERT_TRUE(connection.WaitFor("POST ab"));
  EXPECT_TRUE(server_->WaitIdle(std::chrono::seconds(10)));
}

TEST_F(HttpServerTest, HostMayBeAName) {
  Start({.host = "localhost"});
  EXPECT_EQ(Fetch(server_->port(), "GET", "/").status, 200);
  EXPECT_TRUE(server_->loopback());
  Start({.host = "0.0.0.0"});
  EXPECT_EQ(Fetch(server_->port(), "GET", "/").status, 200);
  EXPECT_FALSE(server_->loopback());
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
  EXPECT_FALSE(HttpServer::Start({.host = ""}, {}).ok());
}

}  // namespace
}  // namespace switchyard::gateway
