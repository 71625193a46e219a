#include "services/base/check.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

TEST(CheckTest, PassesSilentlyAndEvaluatesOnce) {
  int calls = 0;
  CHECK(++calls == 1) << "not printed";
  EXPECT_EQ(calls, 1);
}

TEST(CheckTest, DoesNotStealAnElse) {
  bool reached = false;
  if (false)
    CHECK(true);
  else
    reached = true;
  EXPECT_TRUE(reached);
}

TEST(CheckDeathTest, AbortsNamingPlaceAndCondition) {
  const int slots = 3;
  EXPECT_DEATH(CHECK(slots < 2) << "slots " << slots,
               "check_test.cc:[0-9]+: check failed: slots < 2: slots 3");
}

}  // namespace
}  // namespace switchyard
