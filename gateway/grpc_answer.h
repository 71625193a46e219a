#pragma once

// Calls of the gRPC API as exchanges: what the routes answer in JSON goes out as messages. Internal
// to grpc_api.

#include <google/protobuf/message.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "gateway/http_types.h"

namespace switchyard::gateway {

// What an answer means to a gRPC client; OK for 200.
grpc::Status StatusOf(const HttpResponse& response);

// Reads a JSON answer into a message.
void ReadAnswer(const std::string& json, google::protobuf::Message* message);

// The data of a server-sent event as a message. False when it holds none: the end mark, or an
// error, which goes into `status`.
bool ReadEvent(std::string_view event, google::protobuf::Message* message, grpc::Status* status);

// X-Request-Id, as metadata.
void AddHeaders(const HttpResponse& response, grpc::CallbackServerContext* context);

// The part of a call that learns that its client is gone. Thread-safe.
class GrpcExchange : public HttpExchange {
 public:
  void OnDisconnect(std::function<void()> gone) override;

 protected:
  // True the first time: the caller finishes the call.
  bool End();
  void Gone();

  std::mutex mutex_;
  bool over_ = false;  // finished, or about to be

 private:
  bool gone_already_ = false;
  std::function<void()> gone_;
};

// Owned by its call and by whoever answers it.
template <typename Response>
class UnaryAnswer : public GrpcExchange, public grpc::ServerUnaryReactor {
 public:
  static std::shared_ptr<UnaryAnswer> Make(grpc::CallbackServerContext* context,
                                           Response* response) {
    std::shared_ptr<UnaryAnswer> answer(new UnaryAnswer(context, response));
    answer->self_ = answer;
    return answer;
  }

  void Send(HttpResponse response) override {
    if (!End()) return;
    AddHeaders(response, context_);
    const grpc::Status status = StatusOf(response);
    if (status.ok()) ReadAnswer(response.body, response_);
    grpc::ServerUnaryReactor::Finish(status);
  }

  // No call of one answer asks for a stream.
  void StartStream(HttpResponse, std::string) override {}
  void Write(std::string) override {}
  void Finish() override {}

  void OnCancel() override {
    Gone();
    if (End()) grpc::ServerUnaryReactor::Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override { const auto last = std::exchange(self_, nullptr); }

 private:
  UnaryAnswer(grpc::CallbackServerContext* context, Response* response)
      : context_(context), response_(response) {}

  grpc::CallbackServerContext* const context_;
  Response* const response_;
  std::shared_ptr<UnaryAnswer> self_;  // until gRPC is done with it
};

// The same for a stream of events. A client that reads too slowly is cancelled.
template <typename Response>
class StreamAnswer : public GrpcExchange, public grpc::ServerWriteReactor<Response> {
 public:
  static std::shared_ptr<StreamAnswer> Make(grpc::CallbackServerContext* context) {
    std::shared_ptr<StreamAnswer> answer(new StreamAnswer(context));
    answer->self_ = answer;
    return answer;
  }

  void Send(HttpResponse response) override {  // refused before it began
    StartStream(response, "");
    FinishWith(StatusOf(response));
  }
  void StartStream(HttpResponse response, std::string) override {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!over_) AddHeaders(response, context_);  // the context ends with the call
  }

  void Write(std::string event) override {
    std::lock_guard<std::mutex> lock(mutex_);
    if (over_ || finishing_) return;
    Response message;
    if (!ReadEvent(event, &message, &status_)) return;
    if (unsent_bytes_ > kMaxUnsentBytes) {
      context_->TryCancel();
      return;
    }
    unsent_bytes_ += event.size();
    unsent_.push_back({std::move(message), event.size()});
    if (unsent_.size() == 1) this->StartWrite(&unsent_.front().message);
  }
  void Finish() override { FinishWith(grpc::Status::OK); }

  void OnWriteDone(bool ok) override {
    std::lock_guard<std::mutex> lock(mutex_);
    unsent_bytes_ -= unsent_.front().bytes;
    unsent_.pop_front();
    if (over_) return;
    if (!ok) unsent_.clear();
    if (!unsent_.empty()) {
      this->StartWrite(&unsent_.front().message);
    } else if (finishing_) {
      over_ = true;
      grpc::ServerWriteReactor<Response>::Finish(status_);
    }
  }
  void OnCancel() override {
    Gone();
    if (End()) grpc::ServerWriteReactor<Response>::Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override { const auto last = std::exchange(self_, nullptr); }

 private:
  static constexpr size_t kMaxUnsentBytes = size_t{4} << 20;

  struct Unsent {
    Response message;
    size_t bytes = 0;
  };

  explicit StreamAnswer(grpc::CallbackServerContext* context) : context_(context) {}

  // When everything before it has been sent.
  void FinishWith(const grpc::Status& status) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (over_ || finishing_) return;
    finishing_ = true;
    if (status_.ok()) status_ = status;
    if (!unsent_.empty()) return;
    over_ = true;
    grpc::ServerWriteReactor<Response>::Finish(status_);
  }

  grpc::CallbackServerContext* const context_;
  std::shared_ptr<StreamAnswer> self_;  // until gRPC is done with it
  std::deque<Unsent> unsent_;           // the first one is being written
  size_t unsent_bytes_ = 0;
  bool finishing_ = false;
  grpc::Status status_;
};

}  // namespace switchyard::gateway
