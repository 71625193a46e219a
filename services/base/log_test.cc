#include "services/base/log.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace switchyard {
namespace {

TEST(LogTest, PlainLineHasTimeLevelRoleAndMessage) {
  ConfigureLog("gateway", false);
  testing::internal::CaptureStderr();
  LogWarning() << "port " << 8000;
  const std::string line = testing::internal::GetCapturedStderr();
  EXPECT_EQ(line.substr(line.find(' ')), " warning gateway: port 8000\n");
  EXPECT_EQ(line.find('Z'), line.find(' ') - 1);
}

TEST(LogTest, JsonLineSurvivesQuotesAndBadUtf8) {
  ConfigureLog("router", true);
  testing::internal::CaptureStderr();
  LogError() << "a \"quote\" and \xff";
  const auto line = nlohmann::json::parse(testing::internal::GetCapturedStderr());
  EXPECT_EQ(line["level"], "error");
  EXPECT_EQ(line["role"], "router");
  EXPECT_EQ(line["message"], "a \"quote\" and \xef\xbf\xbd");
}

}  // namespace
}  // namespace switchyard
