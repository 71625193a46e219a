#include "services/runtime/identity.h"

#include <gtest/gtest.h>

namespace switchyard::runtime {
namespace {

TEST(Identity, MemberIdIsTheNamesXxh3) {
  // The ids are in frames and placements, so they must not change between versions.
  EXPECT_EQ(MemberId("expert-host-0"), 0x3db8dc7de67fae8eu);
  EXPECT_NE(MemberId("expert-host-0"), MemberId("expert-host-1"));
  EXPECT_NE(MemberId(""), 0u);
}

TEST(Identity, IncarnationsDiffer) {
  const uint64_t first = NewIncarnation();
  EXPECT_NE(first, 0u);
  EXPECT_NE(first, NewIncarnation());
}

}  // namespace
}  // namespace switchyard::runtime
