#include "kernels/cuda/tensor_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "kernels/cuda/memory.h"
#include "kernels/cuda/test_device.h"

namespace switchyard::kernels {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

void* Address(uintptr_t value) { return reinterpret_cast<void*>(value); }

TEST(TensorMapTest, LinesAreAMatrixOf128ByteRows) {
  const auto parameters = ParametersOf({Address(4096), 1000, 128});
  ASSERT_TRUE(parameters.ok()) << parameters.status();
  EXPECT_EQ(parameters->address, Address(4096));
  EXPECT_THAT(parameters->size, ElementsAre(64, 1000));
  EXPECT_THAT(parameters->stride, ElementsAre(128));
  EXPECT_THAT(parameters->box, ElementsAre(64, 128));
  EXPECT_THAT(parameters->spacing, ElementsAre(1, 1));
}

TEST(TensorMapTest, RefusesWhatTheHardwareCannot) {
  const auto message = [](const LineMap& map) {
    const auto parameters = ParametersOf(map);
    EXPECT_EQ(parameters.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(parameters.status().message());
  };
  EXPECT_THAT(message({Address(4104), 1, 1}), HasSubstr("aligned to 16"));
  EXPECT_THAT(message({Address(4096), 0, 1}), HasSubstr("0 lines"));
  EXPECT_THAT(message({Address(4096), int64_t{1} << 31, 1}), HasSubstr("2147483648 lines"));
  EXPECT_THAT(message({Address(4096), 1, 0}), HasSubstr("box of 0"));
  EXPECT_THAT(message({Address(4096), 1, 257}), HasSubstr("box of 257"));
}

TEST(TensorMapTest, WithoutADriverAnErrorSaysSo) {
  if (DeviceCount().ok()) GTEST_SKIP() << "this machine has a device";
  const auto map = EncodeTensorMap({Address(4096), 1, 1});
  EXPECT_EQ(map.status().code(), absl::StatusCode::kFailedPrecondition) << map.status();
}

TEST(TensorMapTest, TheDriverAcceptsThem) {
  SWITCHYARD_CUDA_OR_SKIP();
  const auto memory = DeviceMemory::Allocate(1 << 20);
  ASSERT_TRUE(memory.ok()) << memory.status();
  for (const int32_t box_lines : {1, 128, 256}) {
    const auto map = EncodeTensorMap({memory->data(), 8192, box_lines});
    EXPECT_TRUE(map.ok()) << map.status();
  }
}

}  // namespace
}  // namespace switchyard::kernels
