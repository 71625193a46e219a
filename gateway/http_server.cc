#include "gateway/http_server.h"

#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gateway/http_connection.h"

namespace switchyard::gateway {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Error = boost::system::error_code;

constexpr Duration kAcceptRetry = std::chrono::milliseconds(100);  // out of file descriptors

// The listener, gRPC, the data path of roles in the same process.
constexpr rlim_t kOtherDescriptors = 256;

// How many connections this process may have open.
size_t RoomForConnections() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return SIZE_MAX;
  const rlimit raised{.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
  if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  return limit.rlim_cur - std::min(limit.rlim_cur / 2, kOtherDescriptors);
}

}  // namespace

struct HttpServer::Impl {
  Impl(const HttpServerOptions& options, HttpHandlers handlers)
      : shared(std::make_shared<HttpShared>()),
        work(shared->io.get_executor()),
        acceptor(asio::make_strand(shared->io)),
        retry(acceptor.get_executor()) {
    shared->options = options;
    shared->options.max_connections = std::min(options.max_connections, RoomForConnections());
    shared->handlers = std::move(handlers);
  }

  ~Impl() {
    StopAccepting();
    {
      std::lock_guard<std::mutex> lock(shared->mutex);
      shared->stopped = true;
      for (HttpConnection* connection : shared->connections) connection->Stop();
    }
    work.reset();
    for (std::thread& thread : threads) thread.join();
  }

  Error Listen() {
    Error error;
    const tcp::endpoint endpoint = Resolve(error);
    if (!error) acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (!error) bound = acceptor.local_endpoint(error);
    return error;
  }

  tcp::endpoint Resolve(Error& error) {
    const std::string& host = shared->options.host;
    const std::string port = std::to_string(shared->options.port);
    if (host.empty()) {  // which would be every address
      error = asio::error::invalid_argument;
      return {};
    }
    // IPv4 first: that is what most clients take "localhost" for.
    tcp::resolver resolver(shared->io);
    auto found = resolver.resolve(tcp::v4(), host, port, tcp::resolver::numeric_service, error);
    if (error) found = resolver.resolve(host, port, tcp::resolver::numeric_service, error);
    return error ? tcp::endpoint() : found.begin()->endpoint();
  }

  void Accept() {
    acceptor.async_accept(asio::make_strand(shared->io),
                          [this](Error error, HttpConnection::Socket socket) {
                            if (error == asio::error::operation_aborted) return;
                            if (error) {
                              RetryAccept();
                              return;
                            }
                            Adopt(std::move(socket));
                            Accept();
                          });
  }

  void RetryAccept() {
    retry.expires_after(kAcceptRetry);
    retry.async_wait([this](Error error) {
      if (!error && acceptor.is_open()) Accept();
    });
  }

  void Adopt(HttpConnection::Socket socket) {
    Error ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    auto connection = std::make_shared<HttpConnection>(std::move(socket), shared);
    bool welcome = false;
    {
      std::lock_guard<std::mutex> lock(shared->mutex);
      welcome = !shared->stopped &&
                (shared->connections.size() < shared->options.max_connections || MakeRoom());
      if (welcome) shared->connections.insert(connection.get());
    }
    welcome ? connection->Start() : connection->TurnAway();
  }

  // With the mutex held: closes the connection whose request has been outstanding for longest, so
  // that clients who never finish theirs keep nobody out.
  bool MakeRoom() {
    if (shared->pending.empty()) return false;
    HttpConnection* longest = shared->pending.front();
    shared->pending.pop_front();
    longest->StopIfPending();
    return true;
  }

  void StopAccepting() {
    asio::post(acceptor.get_executor(), [this] {
      Error ignored;
      acceptor.close(ignored);
      retry.cancel();
    });
  }

  std::shared_ptr<HttpShared> shared;
  asio::executor_work_guard<asio::io_context::executor_type> work;
  asio::basic_socket_acceptor<tcp, HttpConnection::Strand> acceptor;
  asio::basic_waitable_timer<std::chrono::steady_clock,
                             asio::wait_traits<std::chrono::steady_clock>, HttpConnection::Strand>
      retry;
  tcp::endpoint bound;
  std::vector<std::thread> threads;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpServerOptions& options,
                                                              HttpHandlers handlers) {
  auto impl = std::make_unique<Impl>(options, std::move(handlers));
  if (const Error error = impl->Listen()) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", options.host, ":", options.port, ": ", error.message()));
  }
  impl->Accept();
  for (int i = 0; i < options.threads; ++i) {
    impl->threads.emplace_back([io = &impl->shared->io] { io->run(); });
  }
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

uint16_t HttpServer::port() const { return impl_->bound.port(); }

bool HttpServer::loopback() const { return impl_->bound.address().is_loopback(); }

void HttpServer::CloseAfterAnswers() { impl_->shared->closing = true; }

void HttpServer::StopAccepting() { impl_->StopAccepting(); }

bool HttpServer::WaitIdle(Duration grace) {
  const auto deadline = std::chrono::steady_clock::now() + grace;
  while (impl_->shared->in_progress > 0) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

}  // namespace switchyard::gateway
