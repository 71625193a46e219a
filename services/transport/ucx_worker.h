#pragma once

// UCX's objects with owners: one context and one single-threaded worker per transport, regions of
// memory that peers can map, and endpoints.

#include <ucp/api/ucp.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/base/clock.h"
#include "services/transport/ucx_options.h"

namespace switchyard::transport {

// Zeroed memory, aligned to 64 bytes. Must not outlive its worker.
class UcxRegion {
 public:
  UcxRegion(const UcxRegion&) = delete;
  UcxRegion& operator=(const UcxRegion&) = delete;
  ~UcxRegion();

  std::byte* data() const { return data_; }
  const std::string& key() const { return key_; }  // maps it into a peer

 private:
  friend class UcxWorker;
  UcxRegion(ucp_context_h context, ucp_mem_h memory) : context_(context), memory_(memory) {}

  ucp_context_h context_;
  ucp_mem_h memory_;
  std::byte* data_ = nullptr;
  std::string key_;
};

// A way to one peer's worker. Must not outlive its worker.
class UcxEndpoint {
 public:
  UcxEndpoint(const UcxEndpoint&) = delete;
  UcxEndpoint& operator=(const UcxEndpoint&) = delete;
  ~UcxEndpoint();  // closed by then, or torn down with the worker

  ucp_ep_h handle() const { return handle_; }

  // Why UCX gave it up; OK while it has not. Never set over shared memory.
  const absl::Status& failure() const { return failure_; }

  // UCX refused to take a message, so the peer will miss what it carried.
  void Fail(absl::Status why) { failure_.Update(std::move(why)); }

  // Maps a region of the peer's: where its byte at `address` stands here.
  absl::StatusOr<std::byte*> Map(const std::string& key, uint64_t address);

  // The transport that carries messages, as UCX names it: "tcp", "rc_mlx5", ...
  std::string MessageTransport() const;

  // False while the connection is being set up, which takes progress of both workers.
  bool Settled();

  // Gives it up without flushing; every operation on it completes, at the latest when TryClose
  // turns true, which takes progress of the worker. An endpoint that is not settled is given up
  // only when it has had a second for that: UCX 1.13 aborts the process when the peer closes a
  // connection in the middle of its set-up.
  bool TryClose();

 private:
  friend class UcxWorker;
  UcxEndpoint() = default;

  ucp_ep_h handle_ = nullptr;
  ucp_rkey_h mapped_ = nullptr;
  bool handles_errors_ = false;
  void* setup_request_ = nullptr;
  TimePoint setup_ends_{};
  bool closing_ = false;
  void* close_request_ = nullptr;
  absl::Status failure_;
};

class UcxWorker {
 public:
  // With a loopback `host`, or over TCP only, it uses no other network interface than the one that
  // has this address. An error where payloads are CUDA's and this UCX does not know CUDA.
  static absl::StatusOr<std::unique_ptr<UcxWorker>> Start(const UcxOptions& options);
  UcxWorker(const UcxWorker&) = delete;
  UcxWorker& operator=(const UcxWorker&) = delete;
  ~UcxWorker();

  ucp_worker_h handle() const { return worker_; }
  const std::string& address() const { return address_; }
  int event_fd() const { return event_fd_; }

  // Hands messages with this id to `handler`, from Progress.
  absl::Status Listen(unsigned id, ucp_am_recv_callback_t handler, void* context);

  absl::StatusOr<std::unique_ptr<UcxRegion>> Allocate(size_t bytes);
  absl::StatusOr<std::unique_ptr<UcxEndpoint>> Connect(const std::string& worker_address);

  bool Progress() { return ucp_worker_progress(worker_) != 0; }

  // Progresses until UCX has nothing under way any more; false when it still has at the deadline.
  bool Settle(TimePoint deadline);

  // True when event_fd becomes readable for whatever comes next; false when something is there.
  bool Arm() { return ucp_worker_arm(worker_) == UCS_OK; }

 private:
  explicit UcxWorker(UcxLanes lanes) : lanes_(lanes) {}
  absl::Status StartContext(const std::string& host, bool cuda);
  absl::Status CheckKnowsCuda() const;
  absl::Status StartWorker();

  const UcxLanes lanes_;
  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  int event_fd_ = -1;  // the worker's
  std::string address_;
};

}  // namespace switchyard::transport
