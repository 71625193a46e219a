// Processes that end too early. The program that the supervisor starts is this test itself.

#include "cli/supervisor.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>

namespace switchyard::cli {
namespace {

TimePoint Later() { return Clock::Real().Now() + std::chrono::seconds(30); }

TEST(SupervisorTest, TellsHowAProcessFailedToStart) {
  SupervisedProcess process("expert-host-7", {"--exit-with=3"});
  const absl::Status status = process.WaitReady(Later()).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_NE(status.message().find("expert-host-7 ended with code 3"), std::string::npos) << status;
  EXPECT_EQ(process.start_failure(), status);
  EXPECT_EQ(process.restarts(), 0);
}

TEST(SupervisorTest, RestartsOneThatWasReady) {
  SupervisedProcess process("router-0", {"--ready-then-exit-with=3"});
  const auto line = process.WaitReady(Later());
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(*line, "1234");
  while (process.restarts() == 0 && Clock::Real().Now() < Later()) usleep(1000);
  EXPECT_GE(process.restarts(), 1);
  EXPECT_TRUE(process.start_failure().ok());
}

TEST(SupervisorTest, StopIsNoFailure) {
  SupervisedProcess process("gateway", {"--sleep"});
  EXPECT_TRUE(absl::IsDeadlineExceeded(
      process.WaitReady(Clock::Real().Now() + std::chrono::milliseconds(20)).status()));
  process.Stop(Duration::zero());
  EXPECT_TRUE(absl::IsCancelled(process.WaitReady(Later()).status()));
  EXPECT_TRUE(process.start_failure().ok());
}

// The part of the child: does what its first argument says.
void Obey(int argc, char** argv) {
  const std::string_view first = argc > 1 ? argv[1] : "";
  const std::string last = argv[argc - 1];  // --ready-fd=N
  if (first == "--sleep") sleep(60);
  if (first == "--ready-then-exit-with=3") {
    const int fd = std::atoi(last.substr(last.find('=') + 1).c_str());
    if (write(fd, "1234\n", 5) != 5) _exit(4);
  }
  if (first.ends_with("exit-with=3")) _exit(3);
}

}  // namespace
}  // namespace switchyard::cli

int main(int argc, char** argv) {
  switchyard::cli::Obey(argc, argv);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
