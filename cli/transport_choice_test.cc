#include "cli/transport_choice.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace switchyard::cli {
namespace {

RoleOptions Options(const std::string& transport, const std::string& device) {
  RoleOptions options;
  options.transport = transport;
  options.device = device;
  return options;
}

TEST(TransportChoiceTest, UcxIsStartedForAMember) {
  const auto factory = ChooseTransport(Options("ucx-tcp", "cpu"), nullptr);
  ASSERT_TRUE(factory.ok()) << factory.status();
  const auto transport = (*factory)(3, 4);
  ASSERT_TRUE(transport.ok()) << transport.status();
  EXPECT_EQ((*transport)->address().member, 3u);
  EXPECT_EQ((*transport)->address().incarnation, 4u);
}

TEST(TransportChoiceTest, LoopbackNeedsTheRolesOfOneProcess) {
  EXPECT_EQ(ChooseTransport(Options("loopback", "cpu"), nullptr).status().code(),
            absl::StatusCode::kInvalidArgument);
  const auto network = std::make_shared<transport::LoopbackNetwork>();
  EXPECT_TRUE(ChooseTransport(Options("loopback", "cpu"), network).ok());
}

class GpuTransportTest : public testing::TestWithParam<const char*> {};

TEST_P(GpuTransportTest, NeedsAGpu) {
  const auto status = ChooseTransport(Options(GetParam(), "cpu"), nullptr).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(std::string(status.message()).find("--device cuda:N"), std::string::npos) << status;
}

// Where there is a GPU it starts; elsewhere the error is that of the device, not a crash.
TEST_P(GpuTransportTest, StartsOrSaysWhyTheGpuCannotBeUsed) {
  const auto factory = ChooseTransport(Options(GetParam(), "cuda:0"), nullptr);
  ASSERT_TRUE(factory.ok()) << factory.status();
  const auto transport = (*factory)(3, 4);
  if (transport.ok()) {
    EXPECT_EQ((*transport)->address().member, 3u);
    return;
  }
  EXPECT_TRUE(transport.status().code() == absl::StatusCode::kFailedPrecondition ||
              transport.status().code() == absl::StatusCode::kNotFound)
      << transport.status();
}

INSTANTIATE_TEST_SUITE_P(Cli, GpuTransportTest, testing::Values("ucx-cuda", "nccl"),
                         [](const auto& info) {
                           return std::string(info.param) == "nccl" ? "nccl" : "ucx_cuda";
                         });

}  // namespace
}  // namespace switchyard::cli
