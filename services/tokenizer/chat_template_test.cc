#include "services/tokenizer/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "bazel/fixtures/fixtures.h"
#include "services/base/file.h"
#include "services/tokenizer/tokenizer.h"

namespace switchyard::tokenizer {
namespace {

using nlohmann::ordered_json;

std::string Read(const std::string& path) {
  auto text = ReadWholeFile(path, 64 << 20);
  EXPECT_TRUE(text.ok()) << text.status();
  return text.ok() ? *text : "";
}

void CheckGolden(const ChatTemplate& chat_template, const ordered_json& conversations,
                 const ordered_json& golden) {
  const ordered_json& conversation =
      conversations["conversations"][golden["conversation"].get<std::string>()];
  RenderOptions options;
  strptime(conversations["now"].get<std::string>().c_str(), "%Y-%m-%dT%H:%M:%S", &options.now);
  options.add_generation_prompt = golden["add_generation_prompt"];
  options.continue_final_message = golden.value("continue_final_message", false);
  if (conversation.contains("tools")) options.tools = &conversation["tools"];
  if (conversation.contains("documents")) options.documents = &conversation["documents"];
  ordered_json variables = conversation.value("kwargs", ordered_json::object());
  variables.update(golden.value("kwargs", ordered_json::object()));
  options.variables = &variables;

  const auto rendered = chat_template.Render(conversation["messages"], options);
  if (golden.contains("expected")) {
    ASSERT_TRUE(rendered.ok()) << rendered.status() << golden;
    EXPECT_EQ(*rendered, golden["expected"].get<std::string>());
    return;
  }
  ASSERT_FALSE(rendered.ok()) << golden;
  EXPECT_TRUE(absl::IsInvalidArgument(rendered.status()));
  if (golden["error"]["type"] == "TemplateError") {  // raise_exception
    EXPECT_EQ(rendered.status().message(), golden["error"]["message"].get<std::string>());
  }
}

class GoldenTest : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenTest, RendersAsTransformersDoes) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "chat_templates");
  const std::string name = GetParam();
  const ordered_json conversations = ordered_json::parse(Read(folder + "/conversations.json"));
  const auto chat_template = ChatTemplate::Compile(Read(folder + "/" + name + ".jinja"),
                                                   conversations["bos_token"].get<std::string>(),
                                                   conversations["eos_token"].get<std::string>());
  ASSERT_TRUE(chat_template.ok()) << chat_template.status();
  const ordered_json goldens = ordered_json::parse(Read(folder + "/" + name + ".json"));
  for (const ordered_json& golden : goldens["cases"]) {
    CheckGolden(**chat_template, conversations, golden);
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTest,
                         ::testing::Values("chatml", "content_parts", "documents", "headers",
                                           "inst", "loop_control", "markers", "plain_lines",
                                           "renamed_roles", "sandbox", "string_methods",
                                           "thinking_tools", "tojson_forms", "typescript_tools"));

TEST(ChatTemplateTest, DemoPromptsHaveTheExpectedIds) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "demo");
  const auto tokenizer = Tokenizer::Open(folder);
  const auto chat_template = ChatTemplate::Open(folder);
  ASSERT_TRUE(tokenizer.ok() && chat_template.ok());
  for (const ordered_json& expected : ordered_json::parse(Read(folder + "/expected.json"))) {
    const auto text = (*chat_template)->Render(expected["messages"], {});
    ASSERT_TRUE(text.ok()) << text.status();
    const auto ids = (*tokenizer)->EncodeRendered(*text);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, expected["prompt_ids"].get<std::vector<int32_t>>());
    EXPECT_EQ((*tokenizer)->Decode(expected["greedy_ids"].get<std::vector<int32_t>>(), true),
              expected["text"].get<std::string>());
  }
}

ordered_json OneMessage(const std::string& content) {
  return ordered_json::array({{{"role", "user"}, {"content", content}}});
}

TEST(ChatTemplateTest, TextSurvivesWhatJsonMustEscape) {
  const auto chat_template = ChatTemplate::Compile("{{ messages[0].content }}", "", "");
  ASSERT_TRUE(chat_template.ok());
  const std::string content("a\0\"\\\n\u2028😀{{ x }}", 20);
  const auto text = (*chat_template)->Render(OneMessage(content), {});
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, content);
}

TEST(ChatTemplateTest, PercentFormatsStrings) {
  const std::map<std::string, std::string> cases = {
      {"{{ '%s' % messages[0].content }}", "hi"},
      {"{{ \"%s'%d\" % (messages[0].content|upper, 3,) }}", "HI'3"},
      {"{{ '%5.1f|' % 2.25 ~ '%%' }}", "  2.2|%%"},
      {"{% if '%s' % 1 == '1' %}yes{% endif %}", "yes"},
      {"{{ 'a' if 7 % 4 == 3 else '%}' }}", "a"},
      {"{% set x = 'a' %}{{ x }}{# '%s' % 1 #}", "a"},
      {"{% raw %}{{ '%s' % 1 }}{% endraw %}", "{{ '%s' % 1 }}"},
      {"{{ '%s' % ('%s-%s' % (1, [2, 'b'])) }}", "1-[2, 'b']"},
  };
  for (const auto& [source, expected] : cases) {
    const auto chat_template = ChatTemplate::Compile(source, "", "");
    ASSERT_TRUE(chat_template.ok()) << source << chat_template.status();
    const auto text = (*chat_template)->Render(OneMessage("hi"), {});
    ASSERT_TRUE(text.ok()) << source << text.status();
    EXPECT_EQ(*text, expected);
  }
}

TEST(ChatTemplateTest, BadTemplatesAreRefused) {
  EXPECT_FALSE(ChatTemplate::Compile("{% for %}", "", "").ok());
  EXPECT_FALSE(ChatTemplate::Compile("{{ 'a' ", "", "").ok());
  EXPECT_FALSE(ChatTemplate::Compile("\xFF", "", "").ok());
  EXPECT_TRUE(absl::IsNotFound(ChatTemplate::Open("/nonexistent").status()));
}

TEST(ChatTemplateTest, OddEntriesOfTheConfigAreNoTemplate) {
  const std::string folder = ::testing::TempDir() + "/odd_templates";
  std::filesystem::create_directories(folder);
  const auto open = [&](const std::string& value) {
    EXPECT_TRUE(
        WriteWholeFile(folder + "/tokenizer_config.json", "{\"chat_template\": " + value + "}")
            .ok());
    return ChatTemplate::Open(folder).status();
  };
  for (const char* value : {"7", "{}", "[]", "[7]", R"([{"name": 7, "template": "x"}])",
                            R"([{"name": "default", "template": 7}])", R"([{"name": "default"}])",
                            R"([{"name": "tool_use", "template": "x"}])"}) {
    EXPECT_TRUE(absl::IsNotFound(open(value))) << value;
  }
  EXPECT_TRUE(open(R"([{"name": 7}, {"name": "default", "template": "x"}])").ok());
  EXPECT_TRUE(absl::IsInvalidArgument(open("\"{% for %}\"")));
}

TEST(ChatTemplateTest, EndlessTemplatesEnd) {
  const auto chat_template =
      ChatTemplate::Compile("{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", "", "");
  ASSERT_TRUE(chat_template.ok());
  EXPECT_FALSE((*chat_template)->Render(OneMessage("x"), {}).ok());
  const auto loops = ChatTemplate::Compile(
      "{% for i in range(9000) %}{% for j in range(9000) %}{% endfor %}{% endfor %}", "", "");
  ASSERT_TRUE(loops.ok());
  EXPECT_FALSE((*loops)->Render(OneMessage("x"), {}).ok());
}

}  // namespace
}  // namespace switchyard::tokenizer
