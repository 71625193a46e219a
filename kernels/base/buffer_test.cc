#include "kernels/base/buffer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <utility>

namespace switchyard::kernels {
namespace {

TEST(BufferTest, IsAlignedAndWritable) {
  for (size_t bytes : {1, 63, 64, 1000, 5 << 20}) {
    Buffer buffer(bytes);
    EXPECT_EQ(buffer.size(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0u);
    std::memset(buffer.data(), 1, bytes);
  }
  EXPECT_EQ(Buffer().size(), 0u);
}

TEST(BufferTest, ReserveGrowsAndNeverShrinks) {
  Buffer buffer;
  buffer.Reserve(100);
  const void* data = buffer.data();
  buffer.Reserve(50);
  EXPECT_EQ(buffer.data(), data);
  EXPECT_EQ(buffer.size(), 100u);
  buffer.Reserve(200);
  EXPECT_EQ(buffer.size(), 200u);
}

TEST(BufferTest, MoveTakesTheMemory) {
  Buffer first(10);
  *first.As<char>() = 'a';
  Buffer second = std::move(first);
  EXPECT_EQ(*second.As<char>(), 'a');
  Buffer third;
  third = std::move(second);
  EXPECT_EQ(*third.As<char>(), 'a');
  EXPECT_EQ(third.size(), 10u);
}

}  // namespace
}  // namespace switchyard::kernels
