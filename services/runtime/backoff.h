#pragma once

// Waits between attempts: doubling, with jitter so that members do not all come at once.

#include <algorithm>
#include <random>

#include "services/base/clock.h"

namespace switchyard::runtime {

// Used by one thread.
class Backoff {
 public:
  Duration Next() {
    const double share = std::uniform_real_distribution<double>(0.75, 1.0)(random_);
    const Duration wait = std::chrono::duration_cast<Duration>(next_ * share);
    next_ = std::min(next_ * 2, kLongest);
    return wait;
  }

  void Reset() { next_ = kFirst; }

 private:
  static constexpr Duration kFirst = std::chrono::milliseconds(50);
  static constexpr Duration kLongest = std::chrono::seconds(1);

  std::minstd_rand random_{std::random_device{}()};
  Duration next_ = kFirst;
};

}  // namespace switchyard::runtime
