#include "gateway/json_body.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

namespace switchyard::gateway {
namespace {

std::string Repeat(const std::string& text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

TEST(JsonBodyTest, KeepsTheOrderOfKeys) {
  Json json;
  ASSERT_FALSE(ParseJsonBody(R"({"b": 1, "a": [1, {"z": 1, "y": 2}]})", &json));
  EXPECT_EQ(json.dump(), R"({"b":1,"a":[1,{"z":1,"y":2}]})");
}

TEST(JsonBodyTest, RefusesWhatIsNoObjectInJson) {
  for (const std::string& body :
       {std::string(), std::string("[1]"), std::string("1"), std::string("{"),
        std::string("{\"a\": }"), std::string("{} x"), std::string("{\"a\": \"\xFF\"}"),
        std::string("{\"a\": \"\xED\xA0\x80\"}"), std::string("{\"a\": \"\\ud800\"}")}) {
    Json json;
    const auto error = ParseJsonBody(body, &json);
    ASSERT_TRUE(error) << body;
    EXPECT_EQ(error->status, 400);
  }
}

TEST(JsonBodyTest, NamesTheFieldNearTheFaultButNotItsValue) {
  for (const char* value : {"NaN", "Infinity", "1e999", "\"secret\xFF\"", "{\"x\": NaN}"}) {
    Json json;
    const auto error =
        ParseJsonBody(std::string(R"({"prompt": "p", "temperature": )") + value + "}", &json);
    ASSERT_TRUE(error) << value;
    EXPECT_EQ(error->param, "temperature") << value;
    EXPECT_EQ(error->message.find("secret"), std::string::npos);
  }
}

TEST(JsonBodyTest, BoundsDepthAndSize) {
  Json json;
  for (int depth : {70, 100000}) {
    auto error =
        ParseJsonBody("{\"stop\": " + Repeat("[", depth) + Repeat("]", depth) + "}", &json);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->param, "stop");
    error = ParseJsonBody("{\"stop\": " + Repeat("[", depth), &json);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->param, "stop");
    EXPECT_TRUE(ParseJsonBody("{\"a\":" + Repeat("{\"a\":", depth), &json));
  }
  EXPECT_FALSE(ParseJsonBody("{\"a\": " + Repeat("[", 50) + Repeat("]", 50) + "}", &json));
  EXPECT_TRUE(ParseJsonBody("{\"a\": [" + Repeat("0,", 1'100'000) + "0]}", &json));
}

std::string Keys(int first, int count) {
  std::string text;
  for (int i = first; i < first + count; ++i) {
    text += (text.empty() ? "\"" : ",\"") + std::to_string(i) + "\":0";
  }
  return "{" + text + "}";
}

// A key is looked for among all those of its object.
TEST(JsonBodyTest, BoundsKeys) {
  Json json;
  EXPECT_FALSE(ParseJsonBody("{\"logit_bias\": " + Keys(0, 1024) + "}", &json));
  EXPECT_EQ(json["logit_bias"].size(), 1024);
  auto error = ParseJsonBody("{\"logit_bias\": " + Keys(0, 1025) + "}", &json);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->param, "logit_bias");
  EXPECT_TRUE(ParseJsonBody("{\"same\": {" + Repeat("\"a\": 0,", 2000) + "\"a\": 0}}", &json));

  std::string many;
  for (int i = 0; i < 65; ++i) many += (many.empty() ? "" : ",") + Keys(0, 1024);
  error = ParseJsonBody("{\"messages\": [" + many + "]}", &json);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->param, "messages");

  // Half a million keys took minutes once.
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(ParseJsonBody(Keys(0, 500'000), &json));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

}  // namespace
}  // namespace switchyard::gateway
