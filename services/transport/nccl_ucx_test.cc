// The NCCL backend with headers over UCX, on the fake NCCL.

#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "kernels/cuda/fake_gpu_links.h"
#include "services/transport/conformance.h"
#include "services/transport/nccl.h"
#include "services/transport/ucx.h"

namespace switchyard::transport {
namespace {

class NcclOverUcx : public ConformanceNetwork {
 public:
  explicit NcclOverUcx(UcxLanes lanes) : lanes_(lanes) {}
  std::unique_ptr<Transport> Start(uint64_t member, uint64_t incarnation) override {
    auto headers = UcxTransport::Start({.member = member,
                                        .incarnation = incarnation,
                                        .lanes = lanes_,
                                        .open_timeout = std::chrono::seconds(1)});
    EXPECT_TRUE(headers.ok()) << headers.status();
    return MakeNcclTransport(*std::move(headers), kernels::MakeFakeGpuLinks(), {});
  }

 private:
  const UcxLanes lanes_;
};

ConformanceBackend Backend(const std::string& name, const std::string& lane, UcxLanes lanes) {
  return {
      .name = name, .lane = lane, .make = [lanes] { return std::make_unique<NcclOverUcx>(lanes); }};
}

INSTANTIATE_TEST_SUITE_P(Nccl, TransportConformanceTest,
                         testing::Values(Backend("posix", "nccl with ucx posix", UcxLanes::kAuto),
                                         Backend("tcp", "nccl with ucx tcp", UcxLanes::kTcp)),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace switchyard::transport
