#pragma once

// How the engine gets a layer's experts computed: rows go out, one row per assignment comes back.
// Losses, refusals and retries are the dispatcher's business; the engine sees a finished layer or
// an error. The engine's thread is the only caller.

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "services/base/clock.h"
#include "services/transport/frame.h"

namespace switchyard::router {

// Everything pointed to stays valid and unchanged until the micro-batch is finished.
struct DispatchRequest {
  uint32_t micro_batch = 0;  // < ExpertDispatcher::kMicroBatches
  uint32_t layer = 0;
  transport::Phase phase = transport::Phase::kDecode;  // kPrefill when any row is of a prompt
  int64_t rows = 0;
  const std::byte* activations = nullptr;  // [rows][hidden] of the class's wire type
  const int32_t* experts = nullptr;        // [rows][k]; -1: failed or dropped, not dispatched
  const float* weights = nullptr;          // [rows][k]
  Duration timeout{};                      // how long its experts may stay away
};

// [rows * k] pointers, each to `hidden` elements of the wire type (the weighted output of expert
// experts[i]); nullptr where experts[i] is -1, and where the expert's output is not finite. Valid
// until the next Begin of that micro-batch.
using DispatchResult = std::span<const void* const>;

class ExpertDispatcher {
 public:
  static constexpr uint32_t kMicroBatches = 2;

  virtual ~ExpertDispatcher() = default;

  // Sends a layer of a micro-batch, which must not be in flight. Never blocks.
  virtual void Begin(const DispatchRequest& request) = 0;

  // True when the micro-batch's layer is complete or failed; `status` then says which.
  // UNAVAILABLE: experts were lost and not back in time (names them). DEADLINE_EXCEEDED: their
  // hosts did not answer in time.
  virtual bool Finished(uint32_t micro_batch, absl::Status* status) = 0;

  virtual DispatchResult Result(uint32_t micro_batch) = 0;

  // Gives up on a micro-batch in flight; late rows are dropped.
  virtual void Abandon(uint32_t micro_batch) = 0;

  // Drives the transport; returns when something may have changed, at the deadline, or on Wake.
  virtual void Wait(TimePoint deadline) = 0;

  // Takes up membership changes and arrivals without blocking. Called between layers and when idle.
  virtual void Poll() = 0;

  // Ends a Wait. The only method for other threads.
  virtual void Wake() = 0;
};

}  // namespace switchyard::router
