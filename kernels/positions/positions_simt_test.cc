#include <gtest/gtest.h>

#include <vector>

#include "kernels/base/bf16.h"
#include "kernels/base/memory.h"
#include "kernels/positions/positions.h"
#include "kernels/testing/devices.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomFloats;
using testing::SameBits;

TEST(AddPositionsSimtTest, EqualsTheCpu) {
  const std::vector<int64_t> positions = {29, 0, 3, 3, 17};
  const int64_t rows = std::ssize(positions);
  for (const int64_t width : {1, 19, 128, 300}) {
    const Floats table = RandomFloats(30 * width, 1);
    DeviceVector<uint16_t> narrow;
    for (float value : table) narrow.push_back(FloatToBf16(value));
    const Floats x = RandomFloats(rows * width, 2);
    for (const DType type : {DType::kFloat32, DType::kBfloat16}) {
      const void* const stored =
          type == DType::kFloat32 ? static_cast<const void*>(table.data()) : narrow.data();
      const auto args = [&](Floats& output) {
        return AddPositionsArgs{.table = stored,
                                .type = type,
                                .width = width,
                                .positions = positions.data(),
                                .rows = rows,
                                .output = output.data()};
      };
      Floats expected = x;
      AddPositions(args(expected));
      for (Device* device : testing::TestDevices()) {
        Floats actual = x;
        device->AddPositions(args(actual));
        ASSERT_TRUE(device->Finish().ok());
        EXPECT_TRUE(SameBits(actual, expected)) << device->name() << ", width " << width;
      }
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels
