// The part of a connection that answers a request.

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/status.hpp>
#include <cstdio>
#include <utility>

#include "gateway/http_connection.h"
#include "gateway/http_connection_exchange.h"

namespace switchyard::gateway {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

constexpr size_t kMonitorRead = 4 << 10;

}  // namespace

// ---- While it is answered.

void HttpConnection::Monitor() {
  if (buffer_.size() >= kReadAhead) {
    Close();  // with nowhere to read to a disconnect would go unseen
    return;
  }
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
  SetInProgress(false);
  if (!keep_alive_) {
    Close();
  } else if (monitoring_) {
    socket_.cancel();  // OnMonitored goes on to the next request
  } else {
    WaitForRequest();
  }
}

// ---- Writing.

std::string HttpConnection::Head(const HttpResponse& response) {
  if (shared_->closing) keep_alive_ = false;
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

}  // namespace switchyard::gateway
