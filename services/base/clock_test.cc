#include "services/base/clock.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

TEST(ClockTest, RealClockNeverGoesBack) {
  const TimePoint first = Clock::Real().Now();
  EXPECT_GE(Clock::Real().Now(), first);
}

TEST(ClockTest, ManualClockMovesOnlyWhenTold) {
  ManualClock clock;
  const TimePoint start = clock.Now();
  EXPECT_EQ(clock.Now(), start);
  clock.Advance(std::chrono::milliseconds(5));
  EXPECT_EQ(clock.Now() - start, std::chrono::milliseconds(5));
}

}  // namespace
}  // namespace switchyard
