#include "gateway/stop_matcher.h"

#include <gtest/gtest.h>

namespace switchyard::gateway {
namespace {

// The text that comes out when `text` goes in by pieces of `size` bytes.
std::string Shown(const std::vector<std::string>& stops, bool include, const std::string& text,
                  size_t size) {
  StopMatcher matcher(stops, include);
  std::string result;
  for (size_t at = 0; at < text.size(); at += size) result += matcher.Append(text.substr(at, size));
  return result + matcher.Finish();
}

TEST(StopMatcherTest, EndsBeforeTheStopStringHoweverTheTextIsCut) {
  for (size_t size = 1; size < 20; ++size) {
    EXPECT_EQ(Shown({"STOP"}, false, "one STOP two", size), "one ");
    EXPECT_EQ(Shown({"STOP"}, true, "one STOP two", size), "one STOP");
    EXPECT_EQ(Shown({"STOP"}, false, "one STO", size), "one STO");
    EXPECT_EQ(Shown({"aab"}, false, "aaaab!", size), "aa");
    EXPECT_EQ(Shown({"abcd", "bc"}, false, "xabcd", size), "xa");  // "bc" is complete first
    EXPECT_EQ(Shown({"b", "abc", "c", "d"}, false, "aaa", size), "aaa");
  }
}

TEST(StopMatcherTest, WithholdsOnlyWhatMayBecomeAStopString) {
  StopMatcher matcher({"\n\n", "###"}, false);
  EXPECT_EQ(matcher.Append("a\n"), "a");
  EXPECT_EQ(matcher.Append("b#"), "\nb");
  EXPECT_EQ(matcher.Append("##"), "");
  ASSERT_NE(matcher.found(), nullptr);
  EXPECT_EQ(*matcher.found(), "###");
  EXPECT_EQ(matcher.Append("more"), "");
  EXPECT_EQ(matcher.Finish(), "");
}

TEST(StopMatcherTest, WhatIsPassedEndsNothing) {
  StopMatcher matcher({"ab"}, false);
  EXPECT_EQ(matcher.Append("a"), "");
  EXPECT_EQ(matcher.Pass("b ab"), "ab ab");
  EXPECT_EQ(matcher.found(), nullptr);
  EXPECT_EQ(matcher.Append("b"), "b");  // what was passed does not begin a stop string
}

TEST(StopMatcherTest, WithoutStopStringsAllTextPassesAtOnce) {
  EXPECT_EQ(StopMatcher({}, false).Append("text"), "text");
}

}  // namespace
}  // namespace switchyard::gateway
