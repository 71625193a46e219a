// The description and the gateway say the same: every property of every request is tried with
// values that its schema allows and with values that it forbids.

#include "gateway/openapi.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "gateway/chat_request.h"
#include "gateway/completion_request.h"
#include "services/base/version.h"

namespace switchyard::gateway {
namespace {

const Json& Document() {
  static const auto* document = new Json(Json::parse(OpenApiText()));
  return *document;
}

const Json& Resolved(const Json& schema) {
  if (!schema.contains("$ref")) return schema;
  return Document().at(Json::json_pointer(schema["$ref"].get<std::string>().substr(1)));
}

// The properties of an object, those of its allOf parts included.
void CollectProperties(const Json& schema, Json* properties) {
  const Json& resolved = Resolved(schema);
  for (const auto& part : resolved.value("allOf", Json::array())) {
    CollectProperties(part, properties);
  }
  const Json own = resolved.value("properties", Json::object());
  for (const auto& [name, property] : own.items()) (*properties)[name] = property;
}

struct Examples {
  std::vector<Json> allowed;
  std::vector<Json> forbidden;
};

bool MayBe(const Json& schema, const std::string& type) {
  const Json types = schema.value("type", Json::array());
  return types.is_string() ? types == type
                           : std::find(types.begin(), types.end(), type) != types.end();
}

void AddNumbers(const Json& schema, bool integer, Examples* examples) {
  const Json least = schema.value("minimum", Json());
  const Json most = schema.value("maximum", Json());
  if (!least.is_null()) {
    examples->allowed.push_back(least);
    examples->forbidden.push_back(least == INT64_MIN ? Json(-1e19) : Json(least.get<double>() - 1));
  } else {
    examples->forbidden.push_back(schema.at("exclusiveMinimum"));
  }
  examples->allowed.push_back(most);
  examples->forbidden.push_back(most == INT64_MAX ? Json(uint64_t{1} << 63)
                                                  : Json(most.get<double>() + 1));
  if (integer) {
    examples->allowed.push_back(1.0);
    examples->forbidden.push_back(1.5);
  }
}

Examples ExamplesOf(const Json& schema);

void AddArrays(const Json& schema, Examples* examples) {
  if (schema.value("minItems", 0) == 0) {
    examples->allowed.push_back(Json::array());
  } else {
    examples->forbidden.push_back(Json::array());
  }
  if (schema.contains("maxItems") && schema["maxItems"] == 0) {
    examples->forbidden.push_back(Json::array({1}));
    return;
  }
  if (!schema.contains("items")) return;
  const Examples items = ExamplesOf(schema["items"]);
  for (const Json& item : items.allowed) examples->allowed.push_back(Json::array({item}));
  for (const Json& item : items.forbidden) examples->forbidden.push_back(Json::array({item}));
  if (schema.contains("maxItems")) {
    const size_t most = schema["maxItems"];
    examples->allowed.push_back(Json::array_t(most, items.allowed.front()));
    examples->forbidden.push_back(Json::array_t(most + 1, items.allowed.front()));
  }
}

void AddStrings(const Json& schema, Examples* examples) {
  const size_t least = schema.value("minLength", 0);
  const size_t most = schema.value("maxLength", 100);
  if (schema.contains("pattern")) {  // of ids
    examples->allowed.push_back("A-9_.:z");
    for (const char* bad : {"", "a b", "a\n", "\xC3\xA9"}) examples->forbidden.push_back(bad);
    examples->forbidden.push_back(std::string(129, 'a'));
    return;
  }
  examples->allowed.push_back(std::string(most, 'a'));
  if (least > 0) examples->forbidden.push_back("");
  if (schema.contains("maxLength")) examples->forbidden.push_back(std::string(most + 1, 'a'));
}

void AddObjects(const Json& schema, Examples* examples) {
  const Json properties = schema.value("properties", Json::object());
  const std::vector<std::string> required = schema.value("required", Json::array());
  Json whole = Json::object();
  for (const std::string& name : required) {
    whole[name] = ExamplesOf(properties.at(name)).allowed.front();
  }
  if (schema.contains("maxProperties")) {
    examples->forbidden.push_back({{"a", 1}});
  } else {
    whole["unknown"] = 1;
  }
  examples->allowed.push_back(whole);
  for (const std::string& name : required) {
    Json without = whole;
    without.erase(name);
    examples->forbidden.push_back(without);
  }
  for (const auto& [name, property] : properties.items()) {
    const Examples values = ExamplesOf(property);
    for (const auto& [from, to] : {std::pair{&values.allowed, &examples->allowed},
                                   std::pair{&values.forbidden, &examples->forbidden}}) {
      for (const Json& value : *from) {
        Json with = whole;
        with[name] = value;
        to->push_back(with);
      }
    }
  }
  if (!schema.contains("propertyNames")) return;
  for (const Json& name : schema["propertyNames"]["not"]["enum"]) {
    examples->forbidden.push_back({{name.get<std::string>(), 1}});
  }
}

// A value that no schema of another type allows is forbidden too.
void AddOtherTypes(const std::function<bool(const char*)>& may_be, Examples* examples) {
  if (!may_be("null")) examples->forbidden.push_back(nullptr);
  if (!may_be("boolean")) examples->forbidden.push_back(true);
  if (!may_be("string")) examples->forbidden.push_back("text");
  if (!may_be("object")) examples->forbidden.push_back({{"a", 1}});
  if (!may_be("array")) examples->forbidden.push_back(Json::array({Json::array({true})}));
  if (!may_be("number") && !may_be("integer")) examples->forbidden.push_back(1);
}

Examples ExamplesOf(const Json& unresolved) {
  const Json& schema = Resolved(unresolved);
  Examples examples;
  if (schema.contains("const")) {
    return {.allowed = {schema["const"]}, .forbidden = {"other", 17, nullptr}};
  }
  if (schema.contains("enum")) {
    return {.allowed = schema["enum"], .forbidden = {"other", 17, Json::array({1})}};
  }
  if (schema.contains("anyOf")) {
    // What one alternative forbids, another may allow: only types that none has are sure.
    std::vector<Json> alternatives;
    for (const Json& alternative : schema["anyOf"]) {
      alternatives.push_back(Resolved(alternative));
      const Examples of = ExamplesOf(alternative);
      examples.allowed.insert(examples.allowed.end(), of.allowed.begin(), of.allowed.end());
    }
    AddOtherTypes(
        [&](const char* type) {
          return std::any_of(alternatives.begin(), alternatives.end(),
                             [&](const Json& one) { return MayBe(one, type); });
        },
        &examples);
    return examples;
  }
  if (!schema.contains("type")) return {.allowed = {1, "text", true}};  // anything
  if (MayBe(schema, "null")) examples.allowed.push_back(nullptr);
  if (MayBe(schema, "boolean")) {
    examples.allowed.push_back(true);
    examples.allowed.push_back(false);
  }
  if (MayBe(schema, "number")) AddNumbers(schema, /*integer=*/false, &examples);
  if (MayBe(schema, "integer")) AddNumbers(schema, /*integer=*/true, &examples);
  if (MayBe(schema, "string")) AddStrings(schema, &examples);
  if (MayBe(schema, "array")) AddArrays(schema, &examples);
  if (MayBe(schema, "object")) AddObjects(schema, &examples);
  AddOtherTypes([&](const char* type) { return MayBe(schema, type); }, &examples);
  return examples;
}

using Parse = std::function<std::optional<ApiError>(const Json&, std::vector<std::string>*)>;

// Fields that may depend on others: what those must be.
Json With(Json request, const std::string& name, const Json& value) {
  if (name == "model" && value.is_string()) return request;  // the server's own; else a 404
  if (name == "top_logprobs") request["logprobs"] = true;
  if (name == "stream_options" && !value.is_null()) request["stream"] = true;
  if (name == "continue_final_message" && value == true) request["add_generation_prompt"] = false;
  if (name == "best_of" && (value == 1 || value == 128)) request["n"] = value;
  if (name == "max_tokens" && request.contains("prompt")) request["echo"] = true;  // for 0
  if (name == "min_tokens") request["max_tokens"] = 1 << 30;
  request[name] = value;
  return request;
}

void TryEveryProperty(const std::string& schema, const Json& smallest, const Parse& parse) {
  Json properties = Json::object();
  CollectProperties(Document()["components"]["schemas"][schema], &properties);
  ASSERT_GT(properties.size(), 20u);
  Json all = smallest;
  for (const auto& [name, property] : properties.items()) {
    all[name] = nullptr;
    const Examples examples = ExamplesOf(property);
    std::vector<std::string> unknown;
    for (const Json& value : examples.allowed) {
      const auto error = parse(With(smallest, name, value), &unknown);
      EXPECT_FALSE(error) << name << " = " << value.dump().substr(0, 80) << ": " << error->message;
    }
    for (const Json& value : examples.forbidden) {
      const auto error = parse(With(smallest, name, value), &unknown);
      EXPECT_EQ(error ? error->param : "accepted", name) << value.dump().substr(0, 80);
    }
  }
  std::vector<std::string> unknown;
  for (const auto& [name, value] : smallest.items()) all[name] = value;
  EXPECT_FALSE(parse(all, &unknown));
  EXPECT_TRUE(unknown.empty()) << unknown.front() << " is described but not read";
}

const ServerLimits kLimits{.model = "demo", .vocabulary = INT32_MAX};

TEST(OpenApiTest, CompletionsAreReadAsDescribed) {
  TryEveryProperty("CompletionRequest", {{"prompt", "x"}},
                   [](const Json& json, std::vector<std::string>* unknown) {
                     CompletionRequest request;
                     auto error = ParseCompletionRequest(json, kLimits, &request);
                     *unknown = request.unknown_fields;
                     return error;
                   });
}

TEST(OpenApiTest, ChatsAreReadAsDescribed) {
  TryEveryProperty("ChatRequest", {{"messages", {{{"role", "user"}, {"content", "x"}}}}},
                   [](const Json& json, std::vector<std::string>* unknown) {
                     ChatRequest request;
                     auto error = ParseChatRequest(json, kLimits, &request);
                     *unknown = request.unknown_fields;
                     return error;
                   });
}

TEST(OpenApiTest, NamesThisVersion) { EXPECT_EQ(Document()["info"]["version"], kVersion); }

}  // namespace
}  // namespace switchyard::gateway
