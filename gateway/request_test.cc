// What completions and chat completions accept and refuse.

#include <gtest/gtest.h>

#include "gateway/chat_request.h"
#include "gateway/completion_request.h"

namespace switchyard::gateway {
namespace {

const ServerLimits kLimits{.model = "demo",
                           .vocabulary = 100,
                           .defaults = {.temperature = 0.7f,
                                        .top_p = 0.9f,
                                        .top_k = 5,
                                        .min_p = 0.125f,
                                        .repetition_penalty = 1.25f}};

std::optional<ApiError> ParseCompletion(const std::string& text, CompletionRequest* request) {
  return ParseCompletionRequest(Json::parse(text), kLimits, request);
}

std::optional<ApiError> ParseChat(const std::string& text, ChatRequest* request) {
  return ParseChatRequest(Json::parse(text), kLimits, request);
}

TEST(CompletionRequestTest, Defaults) {
  CompletionRequest request;
  ASSERT_FALSE(ParseCompletion(R"({"prompt": "x"})", &request));
  EXPECT_EQ(request.sampling.max_tokens, 16u);
  EXPECT_FLOAT_EQ(request.sampling.temperature, 0.7f);
  EXPECT_FLOAT_EQ(request.sampling.top_p, 0.9f);
  EXPECT_EQ(request.sampling.top_k, 5);
  EXPECT_EQ(request.sampling.min_p, 0.125f);
  EXPECT_EQ(request.sampling.logits.repetition_penalty, 1.25f);
  EXPECT_EQ(request.sampling.logits.frequency_penalty, 0.0f);
  EXPECT_EQ(request.sampling.n, 1);
  EXPECT_EQ(request.logprobs, -1);
  EXPECT_EQ(request.sampling.prompt_logprobs, -1);
  EXPECT_TRUE(request.sampling.skip_special);
  EXPECT_FALSE(request.sampling.seed);
  EXPECT_TRUE(request.unknown_fields.empty());
}

TEST(CompletionRequestTest, NullCountsAsMissing) {
  CompletionRequest request;
  ASSERT_FALSE(ParseCompletion(
      R"({"prompt": "x", "temperature": null, "stop": null, "n": null, "logprobs": null,
          "stream_options": null, "logit_bias": null, "suffix": null})",
      &request));
  EXPECT_FLOAT_EQ(request.sampling.temperature, 0.7f);
}

TEST(CompletionRequestTest, ReadsEveryField) {
  CompletionRequest request;
  ASSERT_FALSE(ParseCompletion(
      R"({"model": "demo", "prompt": [[1, 2], [3]], "max_tokens": 5, "temperature": 0, "top_p": 1,
          "top_k": -1, "seed": -7, "n": 3, "best_of": 3, "stop": ["a", "b"], "echo": true,
          "logprobs": 2, "stream": true, "stream_options": {"include_usage": true},
          "include_stop_str_in_output": true, "stop_token_ids": [9], "ignore_eos": true,
          "min_tokens": 2, "skip_special_tokens": false, "prompt_logprobs": 1, "user": "u",
          "truncate_prompt_tokens": 4, "return_token_ids": true, "request_id": "r-1",
          "add_special_tokens": false, "frequency_penalty": -2, "presence_penalty": 0.5,
          "repetition_penalty": 1.5, "min_p": 0.25, "logit_bias": {"7": 100, "9": -0.5},
          "allowed_token_ids": [4, 5], "bad_words": []})",
      &request));
  EXPECT_EQ(request.prompts.size(), 2u);
  EXPECT_EQ(std::get<std::vector<int32_t>>(request.prompts[0]), (std::vector<int32_t>{1, 2}));
  const SamplingFields& sampling = request.sampling;
  EXPECT_EQ(sampling.temperature, 0);
  EXPECT_EQ(sampling.top_k, 0);
  EXPECT_EQ(sampling.seed, -7);
  EXPECT_EQ(sampling.n, 3);
  EXPECT_EQ(sampling.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(sampling.stream && sampling.include_usage && sampling.include_stop);
  EXPECT_EQ(sampling.stop_token_ids, std::vector<int32_t>{9});
  EXPECT_TRUE(sampling.ignore_eos && !sampling.skip_special && sampling.return_token_ids);
  EXPECT_EQ(sampling.min_tokens, 2u);
  EXPECT_EQ(sampling.prompt_logprobs, 1);
  EXPECT_EQ(sampling.truncate_prompt_tokens, 4u);
  EXPECT_EQ(sampling.request_id, "r-1");
  EXPECT_EQ(sampling.min_p, 0.25f);
  EXPECT_EQ(sampling.logits.frequency_penalty, -2.0f);
  EXPECT_EQ(sampling.logits.presence_penalty, 0.5f);
  EXPECT_EQ(sampling.logits.repetition_penalty, 1.5f);
  EXPECT_EQ(sampling.logits.bias, (std::vector<std::pair<int32_t, float>>{{7, 100}, {9, -0.5f}}));
  EXPECT_EQ(sampling.logits.allowed_token_ids, (std::vector<int32_t>{4, 5}));
  EXPECT_TRUE(request.echo && !request.add_special_tokens);
  EXPECT_EQ(request.logprobs, 2);
  EXPECT_TRUE(request.unknown_fields.empty());
}

TEST(CompletionRequestTest, PromptForms) {
  CompletionRequest text, texts, ids, what_lm_eval_sends;
  ASSERT_FALSE(ParseCompletion(R"({"prompt": "x"})", &text));
  ASSERT_FALSE(ParseCompletion(R"({"prompt": ["x", "y"]})", &texts));
  ASSERT_FALSE(ParseCompletion(R"({"prompt": [1, 2, 3]})", &ids));
  ASSERT_FALSE(ParseCompletion(
      R"({"prompt": [[1, 2]], "max_tokens": 1, "logprobs": 1, "echo": true, "temperature": 0})",
      &what_lm_eval_sends));
  EXPECT_EQ(text.prompts.size(), 1u);
  EXPECT_EQ(texts.prompts.size(), 2u);
  EXPECT_EQ(ids.prompts.size(), 1u);
  EXPECT_EQ(what_lm_eval_sends.prompts.size(), 1u);
}

TEST(CompletionRequestTest, UnknownFieldsAreAcceptedAndListed) {
  CompletionRequest request;
  ASSERT_FALSE(ParseCompletion(R"({"prompt": "x", "store": true, "zz": 1})", &request));
  EXPECT_EQ(request.unknown_fields, (std::vector<std::string>{"store", "zz"}));
}

struct Refusal {
  const char* fields;  // beside the prompt
  const char* param;
};

class RefusalTest : public ::testing::TestWithParam<Refusal> {};

TEST_P(RefusalTest, NamesTheField) {
  const auto& [fields, param] = GetParam();
  CompletionRequest request;
  const auto error = ParseCompletion(std::string(R"({"prompt": "x", )") + fields + "}", &request);
  ASSERT_TRUE(error) << fields;
  EXPECT_EQ(error->status, 400);
  EXPECT_EQ(error->param, param) << fields;
  EXPECT_NE(error->message.find(param), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    TypesRangesAndLaterFeatures, RefusalTest,
    ::testing::Values(
        Refusal{R"("temperature": -0.1)", "temperature"},
        Refusal{R"("temperature": "1")", "temperature"},
        Refusal{R"("temperature": 1e300)", "temperature"},
        Refusal{R"("temperature": true)", "temperature"}, Refusal{R"("top_p": 0)", "top_p"},
        Refusal{R"("top_p": 1.01)", "top_p"}, Refusal{R"("top_p": [])", "top_p"},
        Refusal{R"("top_k": -2)", "top_k"}, Refusal{R"("top_k": 1.5)", "top_k"},
        Refusal{R"("top_k": 2147483648)", "top_k"}, Refusal{R"("n": 0)", "n"},
        Refusal{R"("n": -1)", "n"}, Refusal{R"("n": 2147483648)", "n"},
        Refusal{R"("n": 18446744073709551615)", "n"}, Refusal{R"("n": "2")", "n"},
        Refusal{R"("max_tokens": -1)", "max_tokens"},
        Refusal{R"("max_tokens": 2147483648)", "max_tokens"},
        Refusal{R"("max_tokens": 0)", "max_tokens"}, Refusal{R"("max_tokens": 1.5)", "max_tokens"},
        Refusal{R"("max_tokens": {})", "max_tokens"}, Refusal{R"("min_tokens": 17)", "min_tokens"},
        Refusal{R"("seed": 9223372036854775808)", "seed"}, Refusal{R"("seed": 1.5)", "seed"},
        Refusal{R"("stop": 1)", "stop"}, Refusal{R"("stop": [1])", "stop"},
        Refusal{R"("stop": "")", "stop"}, Refusal{R"("stop": {"a": "b"})", "stop"},
        Refusal{R"("stream": 1)", "stream"}, Refusal{R"("stream_options": {})", "stream_options"},
        Refusal{R"("stream": true, "stream_options": {"include_usage": 1})", "stream_options"},
        Refusal{R"("logprobs": -1)", "logprobs"}, Refusal{R"("logprobs": 21)", "logprobs"},
        Refusal{R"("logprobs": true)", "logprobs"},
        Refusal{R"("prompt_logprobs": 21)", "prompt_logprobs"}, Refusal{R"("echo": "yes")", "echo"},
        Refusal{R"("stop_token_ids": [100])", "stop_token_ids"},
        Refusal{R"("stop_token_ids": [-1])", "stop_token_ids"},
        Refusal{R"("best_of": 2)", "best_of"},
        Refusal{R"("truncate_prompt_tokens": 0)", "truncate_prompt_tokens"},
        Refusal{R"("request_id": "a b\n")", "request_id"}, Refusal{R"("user": 1)", "user"},
        Refusal{R"("frequency_penalty": 2.5)", "frequency_penalty"},
        Refusal{R"("presence_penalty": "1")", "presence_penalty"},
        Refusal{R"("repetition_penalty": 9e-6)", "repetition_penalty"},
        Refusal{R"("repetition_penalty": -1)", "repetition_penalty"},
        Refusal{R"("min_p": 1.1)", "min_p"}, Refusal{R"("logit_bias": [1])", "logit_bias"},
        Refusal{R"("logit_bias": {"1": 101})", "logit_bias"},
        Refusal{R"("logit_bias": {"1": null})", "logit_bias"},
        Refusal{R"("logit_bias": {"100": 1})", "logit_bias"},
        Refusal{R"("logit_bias": {"1x": 1})", "logit_bias"},
        Refusal{R"("logit_bias": {"1": 1, "01": 1})", "logit_bias"},
        Refusal{R"("response_format": {"type": "json_object"})", "response_format"},
        Refusal{R"("allowed_token_ids": [])", "allowed_token_ids"},
        Refusal{R"("allowed_token_ids": [100])", "allowed_token_ids"},
        Refusal{R"("bad_words": "x")", "bad_words"}, Refusal{R"("bad_words": ["x"])", "bad_words"},
        Refusal{R"("suffix": "x")", "suffix"},
        Refusal{R"("guided_json": {"a": 1})", "guided_json"}));

TEST(CompletionRequestTest, RefusesBadPrompts) {
  for (const char* prompt : {"1", "[]", "{}", "[1, \"x\"]", "[[1], \"x\", 3]", "[1.5]", "[-1]",
                             "[100]", "[[1], [100]]", "[4294967296]", "[[[1]]]", "true"}) {
    CompletionRequest request;
    const auto error = ParseCompletion(std::string("{\"prompt\": ") + prompt + "}", &request);
    ASSERT_TRUE(error) << prompt;
    EXPECT_EQ(error->param, "prompt");
  }
  CompletionRequest request;
  EXPECT_TRUE(ParseCompletion("{}", &request));
}

TEST(CompletionRequestTest, AnotherModelIsNotFound) {
  CompletionRequest request;
  const auto error = ParseCompletion(R"({"prompt": "x", "model": "other"})", &request);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->status, 404);
  EXPECT_EQ(error->code, "model_not_found");
}

TEST(ChatRequestTest, ReadsMessages) {
  ChatRequest request;
  ASSERT_FALSE(ParseChat(
      R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"},
                                                    {"type": "text", "text": "b"}], "name": "n"},
                       {"role": "assistant", "content": null}],
          "logprobs": true, "top_logprobs": 3, "max_tokens": 7, "max_completion_tokens": 9,
          "chat_template_kwargs": {"x": 1}, "tools": [], "tool_choice": "none",
          "response_format": {"type": "text"}})",
      &request));
  EXPECT_EQ(request.chat.messages[0]["content"], "a\nb");
  EXPECT_EQ(request.sampling.max_tokens, 9u);
  EXPECT_EQ(request.logprobs, 3);
  EXPECT_EQ(request.chat.template_variables, Json({{"x", 1}}));
  EXPECT_TRUE(request.chat.add_generation_prompt);
  EXPECT_TRUE(request.unknown_fields.empty());
}

TEST(ChatRequestTest, WithoutALimitThereIsNone) {
  ChatRequest request;
  ASSERT_FALSE(ParseChat(R"({"messages": [{"role": "user", "content": "x"}]})", &request));
  EXPECT_FALSE(request.sampling.max_tokens);
}

TEST(ChatRequestTest, ContinuingTurnsTheGenerationPromptOff) {
  ChatRequest request;
  ASSERT_FALSE(ParseChat(
      R"({"messages": [{"role": "user", "content": "x"}], "continue_final_message": true})",
      &request));
  EXPECT_FALSE(request.chat.add_generation_prompt);
}

TEST(ChatRequestTest, Refusals) {
  const std::string message = R"("messages": [{"role": "user", "content": "x"}])";
  const std::vector<std::pair<std::string, std::string>> refusals = {
      {R"("messages": [])", "messages"},
      {R"("messages": "x")", "messages"},
      {R"("messages": [1])", "messages"},
      {R"("messages": [{"content": "x"}])", "messages"},
      {R"("messages": [{"role": 1, "content": "x"}])", "messages"},
      {R"("messages": [{"role": "user", "content": 1}])", "messages"},
      {R"("messages": [{"role": "user", "content": [{"type": "image_url"}]}])", "messages"},
      {R"("model": "demo")", "messages"},
      {message + R"(, "tools": [{"type": "function"}])", "tools"},
      {message + R"(, "tool_choice": "required")", "tool_choice"},
      {message + R"(, "top_logprobs": 2)", "top_logprobs"},
      {message + R"(, "logprobs": 1)", "logprobs"},
      {message + R"(, "max_completion_tokens": 0)", "max_completion_tokens"},
      {message + R"(, "max_tokens": -1)", "max_tokens"},
      {message + R"(, "chat_template_kwargs": [])", "chat_template_kwargs"},
      {message + R"(, "chat_template_kwargs": {"messages": []})", "chat_template_kwargs"},
      {message + R"(, "chat_template": "{{ 1 }}")", "chat_template"},
      {message + R"(, "add_generation_prompt": true, "continue_final_message": true)",
       "continue_final_message"},
  };
  for (const auto& [fields, param] : refusals) {
    ChatRequest request;
    const auto error = ParseChat("{" + fields + "}", &request);
    ASSERT_TRUE(error) << fields;
    EXPECT_EQ(error->param, param) << fields;
  }
}

}  // namespace
}  // namespace switchyard::gateway
