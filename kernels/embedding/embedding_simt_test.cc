#include <gtest/gtest.h>

#include <vector>

#include "kernels/base/bf16.h"
#include "kernels/base/memory.h"
#include "kernels/embedding/embedding.h"
#include "kernels/testing/devices.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomFloats;
using testing::SameBits;

TEST(EmbeddingSimtTest, EqualsTheCpu) {
  for (const int64_t width : {1, 19, 128, 300}) {
    const Floats table = RandomFloats(7 * width, 1);
    DeviceVector<uint16_t> narrow;
    for (float value : table) narrow.push_back(FloatToBf16(value));
    const std::vector<int32_t> ids = {4, 0, 4, 6, 2};
    for (const DType type : {DType::kFloat32, DType::kBfloat16}) {
      const void* const stored =
          type == DType::kFloat32 ? static_cast<const void*>(table.data()) : narrow.data();
      const auto args = [&](Floats& output) {
        return EmbeddingArgs{.table = stored,
                             .type = type,
                             .width = width,
                             .ids = ids.data(),
                             .rows = static_cast<int64_t>(ids.size()),
                             .output = output.data()};
      };
      Floats expected(ids.size() * width);
      Embedding(args(expected));
      for (Device* device : testing::TestDevices()) {
        Floats actual(expected.size());
        device->Embedding(args(actual));
        ASSERT_TRUE(device->Finish().ok());
        EXPECT_TRUE(SameBits(actual, expected)) << device->name() << ", width " << width;
      }
    }
  }
}

// The ids are the call's: their memory may change before the operation runs.
TEST(EmbeddingSimtTest, CopiesTheIds) {
  const Floats table = {1.0f, 2.0f};
  for (Device* device : testing::TestDevices()) {
    std::vector<int32_t> ids = {1, 0, 1};
    Floats output(3);
    device->Embedding(
        {.table = table.data(), .width = 1, .ids = ids.data(), .rows = 3, .output = output.data()});
    ids.assign(3, 0);
    ASSERT_TRUE(device->Finish().ok());
    EXPECT_EQ(output, (Floats{2.0f, 1.0f, 2.0f})) << device->name();
  }
}

}  // namespace
}  // namespace switchyard::kernels
