#pragma once

// One server-streaming call: messages come from any thread and are written one after the other.
// Keeps itself alive until gRPC is done with it.

#include <grpcpp/support/server_callback.h>

#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/status/status.h"
#include "services/runtime/grpc_status.h"

namespace switchyard::router {

template <typename Response>
class StreamCall : public grpc::ServerWriteReactor<Response> {
 public:
  // Ends it with `status` once everything sent is written. Only the first counts.
  void End(const absl::Status& status) {
    {
      std::lock_guard lock(mutex_);
      if (ended_) return;
      ended_ = true;
      status_ = status;
    }
    WriteNext();
  }

  // Ignored after End.
  void Send(Response response) {
    {
      std::lock_guard lock(mutex_);
      if (ended_) return;
      queued_bytes_ += response.ByteSizeLong();
      queue_.push_back(std::move(response));
    }
    WriteNext();
  }

  size_t queued_bytes() const {
    std::lock_guard lock(mutex_);
    return queued_bytes_;
  }

 protected:
  // `self` owns the call until OnDone.
  void KeepAlive(std::shared_ptr<StreamCall> self) { self_ = std::move(self); }

  virtual void Cancelled() = 0;  // the client is gone; from a thread of gRPC
  virtual void Written() {}      // queued_bytes() became smaller

 private:
  void WriteNext() {
    bool finish = false;
    absl::Status status;
    {
      std::lock_guard lock(mutex_);
      if (writing_ || finished_) return;
      if (!queue_.empty()) {
        writing_ = true;
        current_ = std::move(queue_.front());
        queue_.pop_front();
      } else if (ended_) {
        finish = finished_ = true;
        status = status_;
      } else {
        return;
      }
    }
    // Outside the lock: gRPC may call back from here.
    if (finish) {
      this->Finish(runtime::ToGrpc(status));
    } else {
      this->StartWrite(&current_);
    }
  }

  void OnWriteDone(bool ok) override {
    {
      std::lock_guard lock(mutex_);
      writing_ = false;
      queued_bytes_ -= current_.ByteSizeLong();
      if (!ok) Drop();
    }
    Written();
    WriteNext();
  }

  void OnCancel() override {
    {
      std::lock_guard lock(mutex_);
      Drop();
      ended_ = true;
      status_ = absl::CancelledError("cancelled by the client");
    }
    Cancelled();
    WriteNext();
  }

  void OnDone() override { std::exchange(self_, nullptr).reset(); }

  void Drop() {
    for (const Response& response : queue_) queued_bytes_ -= response.ByteSizeLong();
    queue_.clear();
  }

  mutable std::mutex mutex_;
  std::deque<Response> queue_;
  size_t queued_bytes_ = 0;  // in the queue and being written
  Response current_;
  bool writing_ = false;
  bool ended_ = false;     // no more is to come
  bool finished_ = false;  // gRPC has been told
  absl::Status status_;
  std::shared_ptr<StreamCall> self_;
};

}  // namespace switchyard::router
