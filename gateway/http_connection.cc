#include "gateway/http_connection.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/status.hpp>
#include <cstdio>
#include <utility>

namespace switchyard::gateway {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

constexpr size_t kReadAhead = 64 << 10;  // of requests that follow the one being answered
constexpr size_t kMonitorRead = 4 << 10;
constexpr size_t kLingerBytes = 16 << 20;  // read and dropped so that a refusal reaches its client
constexpr Duration kLingerTime = std::chrono::seconds(2);

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
  }
  return lower;
}

}  // namespace

// The handler's end of a request: posts to the connection, for as long as that lives and still
// answers this request.
class HttpConnection::Exchange : public HttpExchange,
                                 public std::enable_shared_from_this<Exchange> {
 public:
  explicit Exchange(HttpConnection& connection)
      : connection_(connection.weak_from_this()),
        shared_(connection.shared_),
        strand_(connection.socket_.get_executor()) {}

  void Send(HttpResponse response) override {
    Post([response = std::move(response)](HttpConnection& connection) {
      connection.Send(response);
    });
  }

  void StartStream(HttpResponse response, std::string ping) override {
    Post([response = std::move(response), ping = std::move(ping)](HttpConnection& connection) {
      connection.StartStream(response, ping);
    });
  }

  void Write(std::string data) override {
    Post([data = std::move(data)](HttpConnection& connection) { connection.WriteChunk(data); });
  }

  void Finish() override {
    Post([](HttpConnection& connection) { connection.FinishStream(); });
  }

  void OnDisconnect(std::function<void()> gone) override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (over_ && !disconnected_) return;
      if (!disconnected_) {
        gone_ = std::move(gone);
        return;
      }
    }
    gone();
  }

  // Called by the connection, once.
  void End(bool disconnected) {
    std::function<void()> gone;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      over_ = true;
      disconnected_ = disconnected;
      gone = std::exchange(gone_, nullptr);
    }
    if (disconnected && gone) gone();
  }

 private:
  template <typename Work>
  void Post(Work work) {
    std::lock_guard<std::mutex> lock(shared_->mutex);
    if (shared_->stopped) return;
    asio::post(strand_, [self = shared_from_this(), work = std::move(work)] {
      const auto connection = self->connection_.lock();
      if (connection != nullptr && connection->exchange_ == self) work(*connection);
    });
  }

  const std::weak_ptr<HttpConnection> connection_;
  const std::shared_ptr<HttpShared> shared_;
  Strand strand_;

  std::mutex mutex_;
  bool over_ = false;
  bool disconnected_ = false;
  std::function<void()> gone_;
};

HttpConnection::HttpConnection(Socket socket, std::shared_ptr<HttpShared> shared)
    : socket_(std::move(socket)),
      shared_(std::move(shared)),
      deadline_(socket_.get_executor()),
      ping_timer_(socket_.get_executor()) {}

HttpConnection::~HttpConnection() {
  std::lock_guard<std::mutex> lock(shared_->mutex);
  shared_->connections.erase(this);
}

void HttpConnection::Start() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] { self->WaitForRequest(); });
}

void HttpConnection::Stop() {
  // Null when the destructor is waiting for the caller's lock.
  if (auto self = weak_from_this().lock()) {
    const auto executor = socket_.get_executor();
    asio::post(executor, [self = std::move(self)] { self->Close(); });
  }
}

// ---- Reading a request.

void HttpConnection::WaitForRequest() {
  if (!socket_.is_open()) return;
  if (buffer_.size() > 0) {
    ReadHeader();
    return;
  }
  Arm(shared_->options.idle_timeout, &HttpConnection::Close);
  socket_.async_wait(Socket::wait_read, [self = shared_from_this()](Error error) {
    self->Disarm();
    if (error) {
      self->Close();
    } else {
      self->ReadHeader();
    }
  });
}

void HttpConnection::ReadHeader() {
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(shared_->options.max_header_bytes));
  parser_->body_limit(shared_->options.max_body_bytes);
  timed_out_ = false;
  Arm(shared_->options.header_timeout, &HttpConnection::CancelRead);
  http::async_read_header(
      socket_, buffer_, *parser_,
      [self = shared_from_this()](Error error, size_t) { self->OnHeader(error); });
}

void HttpConnection::OnHeader(Error error) {
  Disarm();
  if (error) {
    RefuseError(error);
    return;
  }
  const auto& head = parser_->get();
  http_1_0_ = head.version() < 11;
  head_request_ = head.method() == http::verb::head;
  keep_alive_ = head.keep_alive();
  if (auto refusal = shared_->handlers.check_head(TakeHead())) {
    if (parser_->is_done()) {
      Queue(Head(*refusal) + (head_request_ ? "" : refusal->body));
      if (!keep_alive_) linger_after_write_ = true;
    } else {
      RefuseAndClose(*std::move(refusal));
    }
    return;
  }
  const auto expect = head.find(http::field::expect);
  if (expect != head.end() && !parser_->is_done()) {
    SendContinue();
  } else {
    ReadBody();
  }
}

void HttpConnection::SendContinue() {
  static constexpr char kContinue[] = "HTTP/1.1 100 Continue\r\n\r\n";
  Arm(shared_->options.write_timeout, &HttpConnection::Close);
  asio::async_write(socket_, asio::buffer(kContinue, sizeof kContinue - 1),
                    [self = shared_from_this()](Error error, size_t) {
                      self->Disarm();
                      if (error) {
                        self->Close();
                      } else {
                        self->ReadBody();
                      }
                    });
}

void HttpConnection::ReadBody() {
  if (parser_->is_done()) {
    OnBody({});
    return;
  }
  Arm(shared_->options.body_timeout, &HttpConnection::CancelRead);
  http::async_read(socket_, buffer_, *parser_,
                   [self = shared_from_this()](Error error, size_t) { self->OnBody(error); });
}

void HttpConnection::OnBody(Error error) {
  Disarm();
  if (error) {
    RefuseError(error);
    return;
  }
  HttpRequest request = TakeHead();
  request.body = std::move(parser_->get().body());
  parser_.reset();
  answer_complete_ = false;
  streaming_ = false;
  exchange_ = std::make_shared<Exchange>(*this);
  ++shared_->in_progress;
  Monitor();
  shared_->handlers.handle(std::move(request), exchange_);
}

HttpRequest HttpConnection::TakeHead() const {
  const auto& head = parser_->get();
  const std::string_view target(head.target().data(), head.target().size());
  HttpRequest request;
  request.method = std::string(head.method_string());
  request.path = std::string(target.substr(0, target.find('?')));
  for (const auto& field : head) {
    request.headers.emplace(LowerCase({field.name_string().data(), field.name_string().size()}),
                            std::string(field.value()));
  }
  return request;
}

void HttpConnection::RefuseError(Error error) {
  int status = 0;
  if (timed_out_) {
    status = 408;
  } else if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    status = 431;
  } else if (error == http::error::body_limit) {
    status = 413;
  } else if (error != http::error::end_of_stream && error != http::error::partial_message &&
             error.category() == http::make_error_code(http::error::bad_method).category()) {
    status = 400;
  }
  if (status == 0) {
    Close();
  } else {
    RefuseAndClose(shared_->handlers.refuse(status));
  }
}

void HttpConnection::RefuseAndClose(HttpResponse response) {
  keep_alive_ = false;
  linger_after_write_ = true;
  Queue(Head(response) + (head_request_ ? "" : response.body));
}

// ---- While it is answered.

void HttpConnection::Monitor() {
  if (buffer_.size() >= kReadAhead) return;
  monitoring_ = true;
  socket_.async_read_some(
      buffer_.prepare(kMonitorRead),
      [self = shared_from_this()](Error error, size_t bytes) { self->OnMonitored(error, bytes); });
}

void HttpConnection::OnMonitored(Error error, size_t bytes) {
  monitoring_ = false;
  buffer_.commit(bytes);
  const bool cancelled = error == asio::error::operation_aborted;
  if (error && !(cancelled && exchange_ == nullptr)) {
    Close();
  } else if (exchange_ != nullptr) {
    Monitor();
  } else {
    WaitForRequest();
  }
}

void HttpConnection::Send(const HttpResponse& response) {
  if (streaming_ || answer_complete_) return;
  answer_complete_ = true;
  Queue(Head(response) + (head_request_ ? "" : response.body));
}

void HttpConnection::StartStream(const HttpResponse& response, std::string ping) {
  if (streaming_ || answer_complete_) return;
  streaming_ = true;
  if (http_1_0_) keep_alive_ = false;  // its end is the end of the connection
  ping_ = std::move(ping);
  Queue(Head(response));
  WriteChunk(response.body);
  SchedulePing();
}

void HttpConnection::WriteChunk(std::string_view data) {
  if (!streaming_ || answer_complete_ || data.empty()) return;
  if (writing_.size() - written_ + queued_.size() > shared_->options.max_unsent_bytes) {
    Close();
    return;
  }
  wrote_since_ping_ = true;
  if (http_1_0_) {
    Queue(data);
    return;
  }
  char size[32];
  const int digits = std::snprintf(size, sizeof size, "%zx\r\n", data.size());
  std::string chunk(size, digits);
  chunk.append(data).append("\r\n");
  Queue(chunk);
}

void HttpConnection::FinishStream() {
  if (!streaming_ || answer_complete_) return;
  answer_complete_ = true;
  ping_timer_.cancel();
  Queue(http_1_0_ ? "" : "0\r\n\r\n");
}

void HttpConnection::SchedulePing() {
  wrote_since_ping_ = false;
  ping_timer_.expires_after(shared_->options.ping_interval);
  ping_timer_.async_wait([self = shared_from_this(), exchange = exchange_](Error error) {
    if (!error) self->OnPing(exchange);
  });
}

void HttpConnection::OnPing(const std::shared_ptr<Exchange>& exchange) {
  if (exchange_ != exchange || exchange_ == nullptr || answer_complete_) return;
  if (!wrote_since_ping_) WriteChunk(ping_);
  if (exchange_ != nullptr) SchedulePing();
}

void HttpConnection::FinishExchange() {
  std::exchange(exchange_, nullptr)->End(/*disconnected=*/false);
  --shared_->in_progress;
  if (!keep_alive_) {
    Close();
  } else if (monitoring_) {
    socket_.cancel();  // OnMonitored goes on to the next request
  } else {
    WaitForRequest();
  }
}

// ---- Writing.

std::string HttpConnection::Head(const HttpResponse& response) const {
  const auto reason = http::obsolete_reason(static_cast<http::status>(response.status));
  std::string head = "HTTP/1.1 " + std::to_string(response.status) + " ";
  head.append(reason.data(), reason.size());
  head += "\r\nContent-Type: " + response.content_type;
  if (!streaming_) {
    head += "\r\nContent-Length: " + std::to_string(response.body.size());
  } else if (!http_1_0_) {
    head += "\r\nTransfer-Encoding: chunked\r\nCache-Control: no-cache";
  }
  for (const auto& [name, value] : response.headers) head += "\r\n" + name + ": " + value;
  head += keep_alive_ ? "\r\nConnection: keep-alive\r\n\r\n" : "\r\nConnection: close\r\n\r\n";
  return head;
}

void HttpConnection::Queue(std::string_view data) {
  queued_.append(data);
  if (!write_under_way_) WriteSome();
}

void HttpConnection::WriteSome() {
  if (!socket_.is_open()) return;
  if (written_ == writing_.size()) {
    writing_ = std::exchange(queued_, {});
    written_ = 0;
  }
  write_under_way_ = true;
  Arm(shared_->options.write_timeout, &HttpConnection::Close);
  socket_.async_write_some(
      asio::buffer(writing_.data() + written_, writing_.size() - written_),
      [self = shared_from_this()](Error error, size_t bytes) { self->OnWritten(error, bytes); });
}

void HttpConnection::OnWritten(Error error, size_t bytes) {
  Disarm();
  write_under_way_ = false;
  if (error) {
    Close();
    return;
  }
  written_ += bytes;
  if (written_ < writing_.size() || !queued_.empty()) {
    WriteSome();
  } else if (linger_after_write_) {
    Linger();
  } else if (exchange_ == nullptr) {
    WaitForRequest();  // the head of the request was refused
  } else if (answer_complete_) {
    FinishExchange();
  }
}

// ---- Endings.

// Reads on for a moment after a refusal: closing with unread bytes would reset the connection, and
// the client might lose the answer.
void HttpConnection::Linger() {
  if (lingered_bytes_ == 0) {
    Error ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
    Arm(kLingerTime, &HttpConnection::Close);
  }
  buffer_.consume(buffer_.size());
  socket_.async_read_some(buffer_.prepare(kReadAhead),
                          [self = shared_from_this()](Error error, size_t bytes) {
                            self->lingered_bytes_ += bytes;
                            if (error || self->lingered_bytes_ > kLingerBytes) {
                              self->Close();
                            } else {
                              self->Linger();
                            }
                          });
}

void HttpConnection::Close() {
  Disarm();
  ping_timer_.cancel();
  Error ignored;
  socket_.close(ignored);
  if (exchange_ == nullptr) return;
  const auto exchange = std::exchange(exchange_, nullptr);
  --shared_->in_progress;
  exchange->End(/*disconnected=*/!answer_complete_ || write_under_way_);
}

void HttpConnection::Arm(Duration timeout, Action expired) {
  const uint64_t round = ++deadline_round_;
  deadline_.expires_after(timeout);
  deadline_.async_wait([self = shared_from_this(), round, expired](Error error) {
    if (!error && round == self->deadline_round_) (self.get()->*expired)();
  });
}

void HttpConnection::Disarm() {
  ++deadline_round_;
  deadline_.cancel();
}

void HttpConnection::CancelRead() {
  timed_out_ = true;
  socket_.cancel();
}

}  // namespace switchyard::gateway
