#include "services/plan/hosts.h"

#include <gtest/gtest.h>

#include <string>

namespace switchyard::plan {
namespace {

using Hosts = std::vector<int64_t>;

TEST(HostsTest, CountsAndUnits) {
  constexpr int64_t kGiB = int64_t{1} << 30;
  EXPECT_EQ(*ParseHosts("2x80GiB"), (Hosts{80 * kGiB, 80 * kGiB}));
  EXPECT_EQ(*ParseHosts("1.5GB,2x1MiB"), (Hosts{1'500'000'000, 1 << 20, 1 << 20}));
  EXPECT_EQ(*ParseHosts("1TB"), Hosts{1'000'000'000'000});
}

TEST(HostsTest, WhatIsNoHost) {
  for (const char* text : {"", "80", "x80GiB", "0x80GiB", "-1x80GiB", "2x", "2xGiB", "80gib",
                           "nanGiB", "infGiB", "-1GiB", "0GiB", "99999999TiB", "8x80GiB,"}) {
    const auto hosts = ParseHosts(text);
    ASSERT_FALSE(hosts.ok()) << text;
    EXPECT_NE(hosts.status().message().find("for example 8x80GiB"), std::string::npos) << text;
  }
  EXPECT_FALSE(ParseHosts("4096x1GiB,1GiB").ok());
  EXPECT_FALSE(ParseHosts("9223372036854775807x1GiB").ok());
}

}  // namespace
}  // namespace switchyard::plan
