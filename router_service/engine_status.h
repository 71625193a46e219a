#pragma once

// What an engine is doing and has done, for metrics and the log.

#include <cstdint>
#include <optional>
#include <string>

#include "router_service/scheduler.h"
#include "services/base/clock.h"

namespace switchyard::router {

struct EngineStatus {
  int64_t running = 0;
  int64_t waiting = 0;
  int64_t kv_pages_used = 0;
  int64_t kv_pages_total = 0;
  uint64_t prompt_tokens = 0;
  uint64_t generated_tokens = 0;
  uint64_t draft_tokens = 0;  // guessed and computed ahead
  uint64_t accepted_draft_tokens = 0;
  SchedulerCounters scheduler;
};

// The line in the log every so often while there is work. Not thread-safe.
class StatusLine {
 public:
  StatusLine(TimePoint now, Duration interval) : interval_(interval), shown_at_(now) {}

  // Nothing before the interval is over or when nothing was done in it and nothing is to do.
  std::optional<std::string> Next(TimePoint now, const EngineStatus& status);

 private:
  const Duration interval_;
  EngineStatus shown_;  // when the last interval ended
  TimePoint shown_at_;
};

}  // namespace switchyard::router
