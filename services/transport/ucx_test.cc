#include "services/transport/ucx.h"

#include <utility>

#include "gtest/gtest.h"
#include "services/transport/conformance.h"

namespace switchyard::transport {
namespace {

using std::chrono::seconds;

class UcxNetwork : public ConformanceNetwork {
 public:
  explicit UcxNetwork(UcxLanes lanes) : lanes_(lanes) {}
  std::unique_ptr<Transport> Start(uint64_t member, uint64_t incarnation) override {
    auto transport = UcxTransport::Start({.member = member,
                                          .incarnation = incarnation,
                                          .lanes = lanes_,
                                          .open_timeout = seconds(1)});
    EXPECT_TRUE(transport.ok()) << transport.status();
    return *std::move(transport);
  }

 private:
  const UcxLanes lanes_;
};

ConformanceBackend Backend(const std::string& name, const std::string& lane, UcxLanes lanes) {
  return {
      .name = name, .lane = lane, .make = [lanes] { return std::make_unique<UcxNetwork>(lanes); }};
}

INSTANTIATE_TEST_SUITE_P(Ucx, TransportConformanceTest,
                         testing::Values(Backend("shm", "ucx posix", UcxLanes::kSharedMemory),
                                         Backend("tcp", "ucx tcp", UcxLanes::kTcp),
                                         Backend("auto", "ucx posix", UcxLanes::kAuto)),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace switchyard::transport
