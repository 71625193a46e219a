#include "gateway/http_connection.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/read.hpp>
#include <utility>

#include "gateway/http_connection_exchange.h"

namespace switchyard::gateway {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

constexpr size_t kHeadRead = 4 << 10;
constexpr char kEndOfHead[] = "\r\n\r\n";
constexpr size_t kEndOfHeadSize = sizeof kEndOfHead - 1;
constexpr size_t kLingerBytes = 16 << 20;  // read and dropped so that a refusal reaches its client
constexpr Duration kLingerTime = std::chrono::seconds(2);

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
  }
  return lower;
}

// Lines that go on in the next one, which HTTP has given up. Beast would join them without a word.
bool HasFoldedLine(std::string_view head) {
  return head.find("\n ") != std::string_view::npos || head.find("\n\t") != std::string_view::npos;
}

// A proxy in front must see the end of a body where this server sees it: no coding but chunked, and
// that neither repeated nor in HTTP/1.0.
bool HasPlainFraming(const http::request_header<>& head) {
  const size_t codings = head.count(http::field::transfer_encoding);
  return codings == 0 || (codings == 1 && head.version() == 11 &&
                          boost::beast::iequals(head[http::field::transfer_encoding], "chunked"));
}

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
  if (place_) shared_->waiting.erase(*place_);
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

void HttpConnection::StopIfWaiting() {
  place_ = std::nullopt;
  if (auto self = weak_from_this().lock()) {
    const auto executor = socket_.get_executor();
    asio::post(executor, [self = std::move(self)] {
      if (self->waiting_) self->Close();
    });
  }
}

// ---- Reading a request.

void HttpConnection::WaitForRequest() {
  if (!socket_.is_open()) return;
  if (buffer_.size() > 0) {
    ReadHeader();
    return;
  }
  SetWaiting(true);
  const HttpServerOptions& options = shared_->options;
  Arm(served_ ? options.idle_timeout : options.first_byte_timeout, &HttpConnection::Close);
  socket_.async_wait(Socket::wait_read, [self = shared_from_this()](Error error) {
    self->SetWaiting(false);
    self->Disarm();
    if (error) {
      self->Close();
    } else {
      self->ReadHeader();
    }
  });
}

void HttpConnection::SetWaiting(bool waiting) {
  waiting_ = waiting;
  std::lock_guard<std::mutex> lock(shared_->mutex);
  if (waiting) {
    place_ = shared_->waiting.insert(shared_->waiting.end(), this);
  } else if (place_) {
    shared_->waiting.erase(*place_);
    place_ = std::nullopt;
  }
}

void HttpConnection::SetInProgress(bool in_progress) {
  if (in_progress == in_progress_) return;
  in_progress_ = in_progress;
  in_progress ? ++shared_->in_progress : --shared_->in_progress;
}

void HttpConnection::ReadHeader() {
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(shared_->options.max_header_bytes));
  parser_->body_limit(shared_->options.max_body_bytes);
  parser_->eager(false);  // the body is read when the head has been accepted
  timed_out_ = false;
  http_1_0_ = false;
  head_request_ = false;
  streaming_ = false;
  Arm(shared_->options.header_timeout, &HttpConnection::CancelRead);
  GatherHeader(0);
}

void HttpConnection::GatherHeader(size_t searched) {
  const std::string_view read(static_cast<const char*>(buffer_.data().data()), buffer_.size());
  const size_t end = read.find(kEndOfHead, searched);
  if (end != std::string_view::npos) {
    ParseHeader(read.substr(0, end));
    return;
  }
  if (read.size() > shared_->options.max_header_bytes) {
    OnHeader(http::error::header_limit);
    return;
  }
  searched = read.size() - std::min(read.size(), kEndOfHeadSize - 1);
  socket_.async_read_some(buffer_.prepare(kHeadRead),
                          [self = shared_from_this(), searched](Error error, size_t bytes) {
                            self->buffer_.commit(bytes);
                            if (error) {
                              self->OnHeader(error);
                            } else {
                              self->GatherHeader(searched);
                            }
                          });
}

void HttpConnection::ParseHeader(std::string_view lines) {
  Error error;
  if (HasFoldedLine(lines)) {
    error = http::error::bad_value;
  } else {
    buffer_.consume(parser_->put(buffer_.data(), error));
  }
  OnHeader(error);
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
  if (!HasPlainFraming(head)) {
    RefuseError(http::error::bad_transfer_encoding);
    return;
  }
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
  served_ = true;
  SetInProgress(true);
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
  Monitor();
  if (exchange_ == nullptr) return;  // too much came behind it
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
