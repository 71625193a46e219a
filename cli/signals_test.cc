#include "cli/signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

namespace switchyard::cli {
namespace {

[[noreturn]] void SignalledAtStart(int number) {
  Signals signals;
  kill(getpid(), number);
  sleep(60);  // a start that takes long
  _exit(0);
}

[[noreturn]] void SignalledWhileServing() {
  Signals signals;
  signals.Serve();
  kill(getpid(), SIGTERM);
  signals.Wait();
  _exit(signals.arrived() ? 7 : 8);
}

[[noreturn]] void SignalledTwice() {
  Signals signals;
  signals.Serve();
  kill(getpid(), SIGTERM);
  signals.Wait();
  kill(getpid(), SIGINT);
  sleep(60);  // a drain that takes long
  _exit(0);
}

class SignalsDeathTest : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(SignalsDeathTest, OneEndsAStart) {
  EXPECT_EXIT(SignalledAtStart(SIGTERM), ::testing::ExitedWithCode(128 + SIGTERM), "");
  EXPECT_EXIT(SignalledAtStart(SIGINT), ::testing::ExitedWithCode(128 + SIGINT), "");
}

TEST_F(SignalsDeathTest, TheFirstIsForWait) {
  EXPECT_EXIT(SignalledWhileServing(), ::testing::ExitedWithCode(7), "");
}

TEST_F(SignalsDeathTest, TheSecondEndsADrain) {
  EXPECT_EXIT(SignalledTwice(), ::testing::ExitedWithCode(128 + SIGINT), "");
}

}  // namespace
}  // namespace switchyard::cli
