#include "services/base/clock.h"

namespace switchyard {
namespace {

class SteadyClock : public Clock {
 public:
  TimePoint Now() const override {
    return std::chrono::time_point_cast<Duration>(std::chrono::steady_clock::now());
  }
};

}  // namespace

const Clock& Clock::Real() {
  static const SteadyClock* const clock = new SteadyClock;
  return *clock;
}

TimePoint ManualClock::Now() const {
  std::lock_guard lock(mutex_);
  return now_;
}

void ManualClock::Advance(Duration duration) {
  std::lock_guard lock(mutex_);
  now_ += duration;
}

}  // namespace switchyard
