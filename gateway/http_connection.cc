#include "gateway/http_connection.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <utility>

#include "gateway/http_connection_exchange.h"

namespace switchyard::gateway {
namespace {

namespace asio = boost::asio;

constexpr size_t kRead = 4 << 10;
constexpr size_t kBodyRead = 64 << 10;
constexpr size_t kLingerBytes = 16 << 20;  // read and dropped so that a refusal reaches its client
constexpr Duration kLingerTime = std::chrono::seconds(2);

}  // namespace

HttpConnection::HttpConnection(Socket socket, std::shared_ptr<HttpShared> shared)
    : socket_(std::move(socket)),
      shared_(std::move(shared)),
      buffer_(shared_->options.max_header_bytes + 2 * kReadAhead),
      deadline_(socket_.get_executor()),
      ping_timer_(socket_.get_executor()) {}

HttpConnection::~HttpConnection() {
  std::lock_guard<std::mutex> lock(shared_->mutex);
  shared_->connections.erase(this);
  if (place_) shared_->pending.erase(*place_);
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

void HttpConnection::StopIfPending() {
  place_ = std::nullopt;
  if (auto self = weak_from_this().lock()) {
    const auto executor = socket_.get_executor();
    asio::post(executor, [self = std::move(self)] {
      if (self->pending_) self->Close();
    });
  }
}

void HttpConnection::TurnAway() {
  keep_alive_ = false;
  const HttpResponse response = shared_->handlers.refuse(503);
  const std::string answer = Head(response) + response.body;
  Error ignored;
  socket_.non_blocking(true, ignored);
  socket_.write_some(asio::buffer(answer), ignored);
  socket_.shutdown(Socket::shutdown_send, ignored);
  // Closing with unread bytes would reset the connection, and the client might lose the answer.
  char request[kRead];
  socket_.read_some(asio::buffer(request), ignored);
}

// ---- Reading a request.

void HttpConnection::WaitForRequest() {
  if (!socket_.is_open()) return;
  SetPending(true);
  if (buffer_.size() > 0) {
    ReadRequest();
    return;
  }
  const HttpServerOptions& options = shared_->options;
  Arm(served_ ? options.idle_timeout : options.first_byte_timeout, &HttpConnection::Close);
  socket_.async_wait(Socket::wait_read, [self = shared_from_this()](Error error) {
    self->Disarm();
    if (error) {
      self->Close();
    } else {
      self->SetPending(true);
      self->ReadRequest();
    }
  });
}

// True moves it behind all others.
void HttpConnection::SetPending(bool pending) {
  pending_ = pending;
  std::lock_guard<std::mutex> lock(shared_->mutex);
  if (place_) shared_->pending.erase(*place_);
  place_ = std::nullopt;
  if (pending) place_ = shared_->pending.insert(shared_->pending.end(), this);
}

void HttpConnection::SetInProgress(bool in_progress) {
  if (in_progress == in_progress_) return;
  in_progress_ = in_progress;
  in_progress ? ++shared_->in_progress : --shared_->in_progress;
}

void HttpConnection::ReadRequest() {
  parser_.emplace(shared_->options.max_header_bytes, shared_->options.max_body_bytes);
  timed_out_ = false;
  http_1_0_ = false;
  head_request_ = false;
  streaming_ = false;
  Arm(shared_->options.header_timeout, &HttpConnection::CancelRead);
  Parse();
}

void HttpConnection::ReadMore() {
  const size_t room = parser_->head_done() ? kBodyRead : kRead;
  socket_.async_read_some(buffer_.prepare(room),
                          [self = shared_from_this()](Error error, size_t bytes) {
                            self->buffer_.commit(bytes);
                            // The deadline may have passed just as bytes came: nothing else ends
                            // the request any more.
                            if (self->timed_out_) {
                              self->Refuse(408);
                            } else if (!error) {
                              self->Parse();
                            } else {
                              self->Close();
                            }
                          });
}

void HttpConnection::Parse() {
  const bool in_body = parser_->head_done();
  const std::string_view read(static_cast<const char*>(buffer_.data().data()), buffer_.size());
  buffer_.consume(parser_->Put(read));
  if (parser_->refusal() != 0) {
    Refuse(parser_->refusal());
  } else if (parser_->head_done() && !in_body) {
    OnHeader();
  } else if (in_body && !CountBody(parser_->body_bytes())) {
    Refuse(503);
  } else if (in_body && parser_->done()) {
    OnRequest();
  } else {
    ReadMore();
  }
}

void HttpConnection::OnHeader() {
  Disarm();
  http_1_0_ = parser_->http_1_0();
  head_request_ = parser_->is_head();
  keep_alive_ = parser_->keep_alive();
  if (auto refusal = shared_->handlers.check_head(parser_->Head())) {
    if (parser_->done()) {
      Queue(Head(*refusal) + (head_request_ ? "" : refusal->body));
      if (!keep_alive_) linger_after_write_ = true;
    } else {
      RefuseAndClose(*refusal);
    }
    return;
  }
  served_ = true;
  SetInProgress(true);
  if (parser_->expects_continue() && !parser_->done()) {
    SendContinue();
  } else {
    StartBody();
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
                        self->StartBody();
                      }
                    });
}

void HttpConnection::StartBody() {
  if (parser_->done()) {
    OnRequest();
    return;
  }
  Arm(shared_->options.body_timeout, &HttpConnection::CancelRead);
  Parse();
}

// False when the bodies of all connections together have become too large.
bool HttpConnection::CountBody(size_t bytes) {
  const size_t more = bytes - std::exchange(counted_body_, bytes);  // modulo 2^64
  return shared_->body_bytes.fetch_add(more) + more <= shared_->options.max_bodies_bytes;
}

void HttpConnection::OnRequest() {
  Disarm();
  SetPending(false);
  HttpRequest request = parser_->Take();
  parser_.reset();
  answer_complete_ = false;
  streaming_ = false;
  exchange_ = std::make_shared<Exchange>(*this);
  Monitor();
  if (exchange_ == nullptr) return;  // too much came behind it
  shared_->handlers.handle(std::move(request), exchange_);
  CountBody(0);
}

void HttpConnection::Refuse(int status) {
  Disarm();
  parser_.reset();
  CountBody(0);
  RefuseAndClose(shared_->handlers.refuse(status));
}

void HttpConnection::RefuseAndClose(const HttpResponse& response) {
  keep_alive_ = false;
  linger_after_write_ = true;
  Queue(Head(response) + (head_request_ ? "" : response.body));
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
  SetInProgress(false);
  CountBody(0);
  if (exchange_ == nullptr) return;
  const auto exchange = std::exchange(exchange_, nullptr);
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
