#include "gateway/proto_json.h"

#include <gtest/gtest.h>

#include <cmath>

#include "proto/inference.pb.h"

namespace switchyard::gateway {
namespace {

using inference::v1::ChatCompletion;
using inference::v1::ChatRequest;
using inference::v1::Completion;
using inference::v1::Parameters;

TEST(ProtoJsonTest, OnlyWhatIsSetIsSaid) {
  Parameters parameters;
  EXPECT_EQ(ToJson(parameters), Json::object());
  parameters.set_seed(INT64_MIN);
  parameters.set_temperature(0);
  parameters.add_stop("a");
  EXPECT_EQ(ToJson(parameters), (Json{{"temperature", 0.0}, {"seed", INT64_MIN}, {"stop", {"a"}}}));
}

TEST(ProtoJsonTest, AStructIsItsObject) {
  ChatRequest request;
  (*request.mutable_chat_template_kwargs()->mutable_fields())["deep"].set_bool_value(true);
  request.add_documents();
  EXPECT_EQ(ToJson(request)["chat_template_kwargs"], (Json{{"deep", true}}));
  EXPECT_EQ(ToJson(request)["documents"], Json::array({Json::object()}));
}

TEST(ProtoJsonTest, ReadsAnAnswer) {
  Completion completion;
  FromJson(Json::parse(R"({"id": "cmpl-1", "object": "text_completion", "created": 4000000000,
      "choices": [{"index": 1, "text": "x", "finish_reason": null, "stop_reason": 7,
                   "logprobs": {"token_logprobs": [null, -0.5],
                                "top_logprobs": [null, {"a": -0.5}], "text_offset": [0, 1]},
                   "token_ids": [3, 4]}],
      "usage": {"prompt_tokens": 18446744073709551615,
                "prompt_tokens_details": {"cached_tokens": 2}}})"),
           &completion);
  EXPECT_EQ(completion.id(), "cmpl-1");
  EXPECT_EQ(completion.created(), 4000000000);
  const auto& choice = completion.choices(0);
  EXPECT_EQ(choice.finish_reason(), "");
  EXPECT_EQ(choice.stop_reason(), "7");
  EXPECT_EQ(choice.token_ids_size(), 2);
  EXPECT_TRUE(std::isnan(choice.logprobs().token_logprobs(0)));
  EXPECT_EQ(choice.logprobs().token_logprobs(1), -0.5);
  ASSERT_EQ(choice.logprobs().top_logprobs_size(), 2);
  EXPECT_EQ(choice.logprobs().top_logprobs(1).fields().at("a").number_value(), -0.5);
  EXPECT_EQ(completion.usage().prompt_tokens(), UINT64_MAX);
  EXPECT_EQ(completion.usage().prompt_tokens_details().cached_tokens(), 2u);
}

TEST(ProtoJsonTest, BytesAreNumbers) {
  ChatCompletion::Token token;
  FromJson(Json{{"token", "?"}, {"bytes", {0xC3, 0, 10}}}, &token);
  EXPECT_EQ(token.bytes(), std::string("\xC3\0\n", 3));
}

TEST(ProtoJsonTest, OtherTypesAreIgnored) {
  Completion completion;
  FromJson(Json{{"created", "x"}, {"choices", 7}, {"usage", {1, 2}}, {"new", 1}}, &completion);
  EXPECT_EQ(completion.created(), 0);
  EXPECT_EQ(completion.choices_size(), 0);
  FromJson(Json::array({1}), &completion);
}

}  // namespace
}  // namespace switchyard::gateway
