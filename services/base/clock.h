#pragma once

// Time as the roles see it; injected so that tests can move it by hand.

#include <chrono>
#include <mutex>

namespace switchyard {

using Duration = std::chrono::nanoseconds;
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint Now() const = 0;
  static const Clock& Real();  // steady, lives for ever
};

// Moves only when told. Thread-safe.
class ManualClock : public Clock {
 public:
  TimePoint Now() const override;
  void Advance(Duration duration);

 private:
  mutable std::mutex mutex_;
  TimePoint now_{};
};

}  // namespace switchyard
