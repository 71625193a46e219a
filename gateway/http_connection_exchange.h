#pragma once

// The handler's end of a connection. Internal to the HTTP server.

#include <boost/asio/post.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "gateway/http_connection.h"

namespace switchyard::gateway {

// One request: posts to the connection, for as long as that lives and still answers it.
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
    boost::asio::post(strand_, [self = shared_from_this(), work = std::move(work)] {
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

}  // namespace switchyard::gateway
