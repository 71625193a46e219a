#pragma once

// One client connection of the HTTP server. Internal to it: includes Asio and Beast.

#include <atomic>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "gateway/http_request_parser.h"
#include "gateway/http_server.h"

namespace switchyard::gateway {

class HttpConnection;

inline constexpr size_t kReadAhead = 64 << 10;  // of requests that follow the one being answered

// What the connections of a server share.
struct HttpShared {
  HttpServerOptions options;
  HttpHandlers handlers;
  boost::asio::io_context io;
  std::atomic<size_t> in_progress{0};  // requests, from their accepted header to their answer
  std::atomic<bool> closing{false};    // every answer is the last one of its connection
  std::atomic<size_t> body_bytes{0};   // of requests that are not handled yet

  std::mutex mutex;
  bool stopped = false;                   // nothing is posted to `io` any more
  std::set<HttpConnection*> connections;  // each removes itself when it is destroyed
  // Those whose request is not there yet, or not all of it; the one whose last step (connected,
  // answered, first byte) is longest ago comes first.
  std::list<HttpConnection*> pending;
};

// Everything runs on the strand of its socket, except what says otherwise.
//
// Life: wait for a first byte, read a header, check it, read the body, hand the request over; while
// it is answered go on reading, so that a disconnect is seen; then the next request.
class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  using Strand = boost::asio::strand<boost::asio::io_context::executor_type>;
  using Socket = boost::asio::basic_stream_socket<boost::asio::ip::tcp, Strand>;

  HttpConnection(Socket socket, std::shared_ptr<HttpShared> shared);
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  void Start();  // from any thread
  void Stop();   // from any thread: closes soon

  // From any thread, with the shared mutex held, when it has been taken out of the pending ones.
  void StopIfPending();

  // Instead of Start: says 503, without waiting for the client, and closes.
  void TurnAway();

 private:
  class Exchange;
  using Error = boost::system::error_code;
  using Action = void (HttpConnection::*)();

  // Reading a request.
  void WaitForRequest();
  void SetPending(bool pending);
  void SetInProgress(bool in_progress);
  void ReadRequest();
  void ReadMore();
  void Parse();
  void OnHeader();
  void SendContinue();
  void StartBody();
  bool CountBody(size_t bytes);
  void OnRequest();
  void Refuse(int status);
  void RefuseAndClose(const HttpResponse& response);

  // While it is answered.
  void Monitor();
  void OnMonitored(Error error, size_t bytes);
  void Send(const HttpResponse& response);
  void StartStream(const HttpResponse& response, std::string ping);
  void WriteChunk(std::string_view data);
  void FinishStream();
  void SchedulePing();
  void OnPing(const std::shared_ptr<Exchange>& exchange);
  void FinishExchange();

  // Writing.
  std::string Head(const HttpResponse& response);
  void Queue(std::string_view data);
  void WriteSome();
  void OnWritten(Error error, size_t bytes);

  void Linger();
  void Close();
  void Arm(Duration timeout, Action expired);
  void Disarm();
  void CancelRead();

  Socket socket_;
  const std::shared_ptr<HttpShared> shared_;
  boost::beast::flat_buffer buffer_;  // read, not parsed yet
  std::optional<HttpRequestParser> parser_;
  size_t counted_body_ = 0;  // its part of shared_->body_bytes

  boost::asio::steady_timer deadline_;  // of the one wait that is under way
  uint64_t deadline_round_ = 0;         // tells an expiry that comes late from the present one
  bool timed_out_ = false;

  bool pending_ = false;      // among shared_->pending, or just taken out to be closed
  bool served_ = false;       // has sent a request that was accepted
  bool in_progress_ = false;  // counted in shared_->in_progress
  std::optional<std::list<HttpConnection*>::iterator> place_;  // guarded by shared_->mutex

  std::shared_ptr<Exchange> exchange_;  // the request being answered
  bool http_1_0_ = false;
  bool head_request_ = false;  // HEAD: an answer has no body
  bool keep_alive_ = false;
  bool monitoring_ = false;  // a read is under way while the request is answered
  bool streaming_ = false;
  bool answer_complete_ = false;  // all of the answer is queued
  boost::asio::steady_timer ping_timer_;
  std::string ping_;
  bool wrote_since_ping_ = false;

  std::string writing_;  // given to the socket, from written_ on
  size_t written_ = 0;
  std::string queued_;  // comes after it
  bool write_under_way_ = false;
  bool linger_after_write_ = false;
  size_t lingered_bytes_ = 0;
};

}  // namespace switchyard::gateway
