#include "services/runtime/offered_classes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/base/thread_pool.h"
#include "kernels/device/cpu_device.h"
#include "kernels/testing/devices.h"

namespace switchyard::runtime {
namespace {

using ::testing::ElementsAre;

TEST(OfferClassesTest, TheCheckpointsOwnTypeComesFirst) {
  kernels::ThreadPool pool(1);
  const kernels::CpuDevice cpu(pool);
  v1::RegisterRequest narrow, wide;
  OfferClasses(true, cpu, narrow);
  OfferClasses(false, cpu, wide);
  EXPECT_THAT(narrow.offered(), ElementsAre(v1::NUMERICS_BF16, v1::NUMERICS_FP32));
  EXPECT_THAT(wide.offered(), ElementsAre(v1::NUMERICS_FP32, v1::NUMERICS_BF16));
}

TEST(OfferClassesTest, TensorCoresAreOfferedLastAndByGpusAlone) {
  kernels::ThreadPool pool(1);
  const auto gpu = kernels::testing::MakeEmulatedDevice(pool);
  v1::RegisterRequest request;
  OfferClasses(true, *gpu, request);
  EXPECT_THAT(request.offered(),
              ElementsAre(v1::NUMERICS_BF16, v1::NUMERICS_FP32, v1::NUMERICS_BF16_SM90));
}

}  // namespace
}  // namespace switchyard::runtime
