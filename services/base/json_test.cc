#include "services/base/json.h"

#include <gtest/gtest.h>

#include <string>

namespace switchyard {
namespace {

std::string ErrorOf(const std::string& text, const JsonLimits& limits = {}) {
  const auto result = ParseJson(text, limits, "request");
  return result.ok() ? "parsed" : std::string(result.status().message());
}

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(JsonTest, BuildsTheSameDocumentAsNlohmann) {
  const std::string text =
      R"({"a": [1, -2, 3.5, true, null, "x\u00e9", {"b": {}}, [], [[7]]], "c": 18446744073709551615})";
  const auto result = ParseJson(text, {}, "request");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(*result, nlohmann::json::parse(text));
  EXPECT_EQ(*ParseJson("5", {}, "request"), 5);
}

TEST(JsonTest, RefusesDuplicateKeysAtEveryLevel) {
  EXPECT_TRUE(Contains(ErrorOf(R"({"a": 1, "a": 2})"), "request: duplicate key \"a\""));
  EXPECT_TRUE(Contains(ErrorOf(R"([{"x": {"b": 1, "b": 1}}])"), "duplicate key \"b\""));
  EXPECT_EQ(ErrorOf(R"([{"a": 1}, {"a": 2}])"), "parsed");
}

TEST(JsonTest, BoundsSizeDepthAndValues) {
  EXPECT_TRUE(Contains(ErrorOf(std::string(100'000, '[')), "nested deeper than 32"));
  EXPECT_EQ(ErrorOf("[[1]]", {.depth = 2}), "parsed");
  EXPECT_TRUE(Contains(ErrorOf("[[[]]]", {.depth = 2}), "nested deeper than 2"));
  EXPECT_TRUE(Contains(ErrorOf("[1,2,3]", {.values = 3}), "more than 3 values"));
  EXPECT_TRUE(Contains(ErrorOf("[1,2,3]", {.bytes = 6}), "at most 6"));
}

TEST(JsonTest, NamesTheSyntaxErrorsPlace) {
  EXPECT_TRUE(Contains(ErrorOf("{\"a\": }"), "column 7"));
  EXPECT_TRUE(Contains(ErrorOf(""), "request: "));
  EXPECT_TRUE(Contains(ErrorOf("{} {}"), "request: "));
  EXPECT_TRUE(Contains(ErrorOf("\"\xff\""), "UTF-8"));
  EXPECT_TRUE(Contains(ErrorOf("1e999"), "request: "));
}

}  // namespace
}  // namespace switchyard
