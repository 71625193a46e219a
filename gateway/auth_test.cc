#include "gateway/auth.h"

#include <gtest/gtest.h>

namespace switchyard::gateway {
namespace {

TEST(AuthenticatorTest, WithoutKeysEverybodyMayEnter) {
  EXPECT_TRUE(Authenticator({}).Allows("/v1/models", ""));
}

TEST(AuthenticatorTest, TakesEachKeyAndNothingNearIt) {
  const Authenticator authenticator({"first-key", "second-key"});
  EXPECT_TRUE(authenticator.Allows("/v1/models", "Bearer first-key"));
  EXPECT_TRUE(authenticator.Allows("/v1/models", "bearer second-key"));
  for (const char* wrong :
       {"", "first-key", "Bearer", "Bearer ", "Bearer first-ke", "Bearer first-key2",
        "Bearer First-key", "Bearer  first-key", "Bearer first-key ", "Basic first-key",
        "Bearer first-key,second-key", "Bearerfirst-key"}) {
    EXPECT_FALSE(authenticator.Allows("/v1/models", wrong)) << wrong;
  }
}

TEST(AuthenticatorTest, OnlyHealthSpelledExactlyIsOpen) {
  const Authenticator authenticator({"key"});
  EXPECT_TRUE(authenticator.Allows("/health", ""));
  for (const char* path : {"//health", "/health/", "/Health", "/%68ealth", "/health/../v1/models",
                           "/./health", "", "/", "*", "/healthz", "/metrics", "/version"}) {
    EXPECT_FALSE(authenticator.Allows(path, "")) << path;
  }
}

}  // namespace
}  // namespace switchyard::gateway
