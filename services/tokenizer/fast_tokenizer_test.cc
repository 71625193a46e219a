#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>

#include "absl/status/status.h"
#include "bazel/fixtures/fixtures.h"
#include "services/base/file.h"
#include "services/tokenizer/tokenizer.h"
#include "services/tokenizer/utf8.h"

namespace switchyard::tokenizer {
namespace {

using nlohmann::json;

std::string Read(const std::string& path) {
  auto text = ReadWholeFile(path, 64 << 20);
  EXPECT_TRUE(text.ok()) << text.status();
  return text.ok() ? *text : "";
}

std::unique_ptr<Tokenizer> OpenOrDie(const std::string& folder) {
  auto tokenizer = Tokenizer::Open(folder);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

std::vector<int32_t> IdsOf(const json& value) { return value.get<std::vector<int32_t>>(); }

// What a stream emits after each id; the last one flushes.
std::vector<std::string> Chunks(const Tokenizer& tokenizer, const std::vector<int32_t>& ids,
                                bool skip_special) {
  const auto decoder = tokenizer.NewDecoder(skip_special);
  std::vector<std::string> chunks;
  for (int32_t id : ids) chunks.push_back(decoder->Append(id));
  if (!chunks.empty()) chunks.back() += decoder->Finish();
  return chunks;
}

// A stream gives whole characters, which joined are the decoding.
void ExpectStreams(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special) {
  std::string joined;
  for (const std::string& chunk : Chunks(tokenizer, ids, skip_special)) {
    EXPECT_TRUE(IsValidUtf8(chunk));
    joined += chunk;
  }
  EXPECT_EQ(joined, tokenizer.Decode(ids, skip_special)) << json(ids);
}

void ExpectRandomIdsStream(const Tokenizer& tokenizer) {
  std::mt19937 random(7);
  for (int round = 0; round < 400; ++round) {
    // Few different ids, so that characters come together from their parts.
    const int32_t first = random() % tokenizer.vocabulary();
    const int32_t range = round % 2 == 0 ? tokenizer.vocabulary() + 3 : 300;
    std::vector<int32_t> ids(random() % 20);
    for (int32_t& id : ids)
      id = (first + static_cast<int32_t>(random() % range)) % (tokenizer.vocabulary() + 3) - 1;
    ExpectStreams(tokenizer, ids, round % 4 < 2);
  }
}

class FastGoldenTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    SWITCHYARD_FIXTURE_OR_SKIP(folder, std::string("tokenizers/") + GetParam());
    tokenizer_ = OpenOrDie(folder);
    ASSERT_NE(tokenizer_, nullptr);
    goldens_ = json::parse(Read(folder + "/goldens.json"));
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  json goldens_;
};

TEST_P(FastGoldenTest, Encodes) {
  for (const json& golden : goldens_["cases"]) {
    if (golden.contains("pair")) continue;  // the API has no pairs of texts
    const std::string text = golden["text"];
    const auto ids = tokenizer_->Encode(text, /*add_special=*/false);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, IdsOf(golden["ids"])) << golden["text"];
    EXPECT_EQ(tokenizer_->EncodeRendered(text).value(), IdsOf(golden["ids"])) << golden["text"];
    const auto with_special = tokenizer_->Encode(text, /*add_special=*/true);
    ASSERT_TRUE(with_special.ok()) << with_special.status();
    EXPECT_EQ(*with_special, IdsOf(golden["ids_with_special"])) << golden["text"];
  }
}

TEST_P(FastGoldenTest, DecodesAndStreams) {
  int chunked = 0;
  for (const char* group : {"cases", "decode_only"}) {
    for (const json& golden : goldens_[group]) {
      if (golden.contains("pair")) continue;
      const auto ids = IdsOf(golden["ids"]);
      EXPECT_EQ(tokenizer_->Decode(ids, true), golden["decode"].get<std::string>()) << golden;
      if (golden.contains("decode_keep_special")) {
        EXPECT_EQ(tokenizer_->Decode(ids, false), golden["decode_keep_special"].get<std::string>());
      }
      if (golden.contains("chunks")) {
        ++chunked;
        EXPECT_EQ(Chunks(*tokenizer_, ids, true), golden["chunks"].get<std::vector<std::string>>())
            << golden;
      }
      std::vector<int32_t> prefix;
      for (const json& decoded : golden.value("prefixes", json::array())) {
        prefix.push_back(ids[prefix.size()]);
        EXPECT_EQ(tokenizer_->Decode(prefix, true), decoded.get<std::string>());
      }
    }
  }
  EXPECT_GT(chunked, 200);
}

TEST_P(FastGoldenTest, StreamsAnyIds) { ExpectRandomIdsStream(*tokenizer_); }

// In time that grows with the length: quadratic work would take hours here.
TEST_P(FastGoldenTest, LongTextsEnd) {
  for (const std::string piece :
       {"a", " ", "\n", "<mask>", " whole", "9", "\xF0\x9F\x98\x80", "ab "}) {
    std::string text;
    while (text.size() < (1 << 18)) text += piece;
    EXPECT_TRUE(tokenizer_->Encode(text, true).ok()) << piece;
  }
}

TEST_P(FastGoldenTest, TextThatIsNoUtf8IsRepaired) {
  const auto ids = tokenizer_->Encode("a\xC3 b\xFF", false);
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_EQ(*ids, tokenizer_->Encode("a\uFFFD b\uFFFD", false).value());
}

INSTANTIATE_TEST_SUITE_P(All, FastGoldenTest,
                         ::testing::Values("gpt2_bpe", "llama3_bpe", "metaspace_unigram"));

// A tokenizer.json of a few tokens.
json TinyFile() {
  json vocab = {{"<unk>", 0}, {"\u2581", 1}, {"a", 2}, {"b", 3}, {"\u2581a", 4}, {"ab", 5}};
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", byte);
    vocab[name] = 6 + byte;
  }
  return {
      {"version", "1.0"},
      {"truncation",
       {{"direction", "Right"}, {"max_length", 2}, {"strategy", "LongestFirst"}, {"stride", 0}}},
      {"padding", nullptr},
      {"added_tokens", json::array()},
      {"normalizer",
       {{"type", "Sequence"},
        {"normalizers",
         json::array(
             {{{"type", "Prepend"}, {"prepend", "\u2581"}},
              {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}}})}}},
      {"pre_tokenizer", nullptr},
      {"post_processor", nullptr},
      {"decoder",
       {{"type", "Sequence"},
        {"decoders",
         json::array({{{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}},
                      {{"type", "ByteFallback"}},
                      {{"type", "Fuse"}},
                      {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}})}}},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", "<unk>"},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", true},
        {"byte_fallback", true},
        {"ignore_merges", false},
        {"vocab", vocab},
        {"merges", json::array({"\u2581 a", "a b"})}}}};
}

class TinyTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& file,
                                                  const json& config = json::object()) {
    const std::string folder = ::testing::TempDir() + "/fast_tokenizer";
    std::filesystem::create_directories(folder);
    EXPECT_TRUE(WriteWholeFile(folder + "/tokenizer.json", file).ok());
    EXPECT_TRUE(WriteWholeFile(folder + "/tokenizer_config.json", config.dump()).ok());
    return Tokenizer::Open(folder);
  }

  void ExpectRefused(const std::string& file) {
    const absl::Status status = Open(file).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << file.substr(0, 60);
    EXPECT_EQ(status.message().find("tokenizer.json"), 0u) << status;
  }
};

TEST_F(TinyTest, BytesAreJoinedWhereTheWholeRunIsACharacter) {
  const auto tokenizer = Open(TinyFile().dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto ids = (*tokenizer)->Encode("a \u00E9ab", false);
  ASSERT_TRUE(ids.ok());  // and not cut at the file's max_length
  EXPECT_EQ(*ids, (std::vector<int32_t>{4, 1, 6 + 0xC3, 6 + 0xA9, 5}));
  EXPECT_EQ((*tokenizer)->Decode(*ids, true), "a \u00E9ab");
  EXPECT_EQ(Chunks(**tokenizer, *ids, true),
            (std::vector<std::string>{"a", " ", "", "", "\u00E9ab"}));
  EXPECT_EQ((*tokenizer)->Decode({6 + 'a', 6 + 0xC3}, true), "\uFFFD\uFFFD");
  ExpectStreams(**tokenizer, {6 + ' ', 6 + 'a', 4, 6 + 'a', 6 + 0xC3}, true);
  ExpectRandomIdsStream(**tokenizer);
}

// As in files made of Llama's: the first token that prints a letter is the byte's.
TEST_F(TinyTest, BytesMayComeBeforeAllLetters) {
  json file = TinyFile();
  for (auto& [token, id] : file["model"]["vocab"].items()) {
    const int old = id.get<int>();
    if (old >= 2) id = old >= 6 ? old - 4 : old + 256;
  }
  const auto tokenizer = Open(file.dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto byte = [](int value) { return 2 + value; };
  const int a = 258;
  EXPECT_EQ((*tokenizer)->Decode({a, byte(0xF0), byte(0x9F)}, true), "a\uFFFD\uFFFD");
  ExpectStreams(**tokenizer, {a, byte(0xF0), byte(0x9F)}, true);
  ExpectStreams(**tokenizer, {a, byte(0xC3), byte(0xA9), a, byte(0xC3)}, true);
  ExpectRandomIdsStream(**tokenizer);
}

TEST_F(TinyTest, OtherDecodersStreamToo) {
  for (const char* decoder :
       {"null", R"({"type": "WordPiece", "prefix": "##", "cleanup": true})",
        R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": true})",
        R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true})",
        R"({"type": "Sequence", "decoders": [{"type": "ByteFallback"},
           {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false}]})",
        R"({"type": "Strip", "content": "b", "start": 1, "stop": 0})",
        R"({"type": "Sequence", "decoders": [{"type": "ByteFallback"},
           {"type": "WordPiece", "prefix": "##", "cleanup": true}]})"}) {
    json file = TinyFile();
    file["decoder"] = json::parse(decoder);
    const auto tokenizer = Open(file.dump());
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    ExpectRandomIdsStream(**tokenizer);
  }
}

TEST_F(TinyTest, TheConfigAddsTokens) {
  const json config = {
      {"bos_token", "<s>"},
      {"eos_token", {{"content", "ab"}}},
      {"added_tokens_decoder",
       {{"262", {{"content", "<tool>"}, {"special", false}, {"normalized", false}}},
        {"263", {{"content", "<s>"}, {"special", false}, {"normalized", false}}}}}};
  const auto tokenizer = Open(TinyFile().dump(), config);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->bos_id(), 263);
  EXPECT_EQ((*tokenizer)->eos_id(), 5);
  EXPECT_EQ((*tokenizer)->vocabulary(), 264);
  EXPECT_EQ((*tokenizer)->Encode("<s><tool>", true).value(), (std::vector<int32_t>{263, 262}));
  EXPECT_EQ((*tokenizer)->Decode({263, 262, 5, 2}, true), "<tool>a");
  EXPECT_EQ((*tokenizer)->Decode({263, 262, 5, 2}, false), "<s><tool>aba");
}

TEST_F(TinyTest, ComesBeforeAnyTokenizerModel) {
  const std::string folder = ::testing::TempDir() + "/fast_tokenizer";
  std::filesystem::create_directories(folder);
  ASSERT_TRUE(WriteWholeFile(folder + "/tokenizer.model", "not looked at").ok());
  EXPECT_TRUE(Open(TinyFile().dump()).ok());
  ExpectRefused("nonsense");
  std::filesystem::remove(folder + "/tokenizer.model");
}

TEST_F(TinyTest, BadFilesAreRefused) {
  for (const std::string& text : {std::string(), std::string("[]"), std::string("{}"),
                                  std::string("\xFF"), std::string(100'000, '[')}) {
    ExpectRefused(text);
  }
  const auto with = [](const std::string& pointer, const json& value) {
    json file = TinyFile();
    file[json::json_pointer(pointer)] = value;
    return file.dump();
  };
  ExpectRefused(with("/model/merges", json::array({"a c"})));
  ExpectRefused(with("/model/merges", json::array({"a"})));
  ExpectRefused(with("/model/vocab", json::object()));
  ExpectRefused(with("/model/vocab/a", -1));
  ExpectRefused(with("/model/vocab/a", 1 << 30));
  ExpectRefused(with("/model/dropout", 0.5));
  ExpectRefused(with(
      "/decoder",
      {{"type", "CTC"}, {"pad_token", "a"}, {"word_delimiter_token", "|"}, {"cleanup", true}}));
  ExpectRefused(with("/pre_tokenizer", {{"type", "Split"},
                                        {"pattern", {{"Regex", "("}}},
                                        {"behavior", "Isolated"},
                                        {"invert", false}}));
  ExpectRefused(with("/version", "2.0"));
}

// Merges that lead back to where they began, or to nothing, end all the same.
TEST_F(TinyTest, CyclicMergesEnd) {
  json file = TinyFile();
  file["model"]["vocab"][""] = 262;
  file["model"]["vocab"]["aa"] = 263;
  file["model"]["vocab"]["aaa"] = 264;
  file["model"]["merges"] =
      json::parse(R"([["", "a"], ["a", ""], ["", ""], ["a", "aa"], ["aa", "a"], ["a", "a"]])");
  const auto tokenizer = Open(file.dump());
  if (!tokenizer.ok()) return;
  EXPECT_TRUE((*tokenizer)->Encode(std::string(10'000, 'a'), false).ok());
}

TEST_F(TinyTest, PathologicalExpressionsAreGivenUp) {
  for (const char* place : {"pre_tokenizer", "normalizer"}) {
    json file = TinyFile();
    file["normalizer"] = nullptr;
    const json pattern = {{"Regex", "(a|aa|a?)+$"}};
    file[place] = place == std::string("normalizer")
                      ? json{{"type", "Replace"}, {"pattern", pattern}, {"content", "b"}}
                      : json{{"type", "Sequence"},
                             {"pretokenizers", json::array({{{"type", "Split"},
                                                             {"pattern", pattern},
                                                             {"behavior", "Isolated"},
                                                             {"invert", false}}})}};
    const auto tokenizer = Open(file.dump());
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    const absl::Status status = (*tokenizer)->Encode(std::string(60, 'a') + "b", false).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status));
    EXPECT_NE(status.message().find("takes too long"), std::string::npos) << status;
    EXPECT_TRUE((*tokenizer)->Encode("aab", false).ok());
  }
}

// Whatever the bytes are, they are refused or give a tokenizer that answers.
TEST_F(TinyTest, NoDamageIsWorseThanAWrongTokenizer) {
  const std::string good = TinyFile().dump();
  std::mt19937 random(1);
  int opened = 0;
  for (int round = 0; round < 300; ++round) {
    std::string bytes = good;
    for (int damages = 1 + round % 3; damages > 0; --damages) {
      // Outside the long list of bytes' names.
      const size_t place = random() % 1200;
      bytes[place < 900 ? place : bytes.size() - (place - 899)] = "\"0a[]{}:,<\xFF"[random() % 11];
    }
    const auto tokenizer = Open(bytes);
    if (!tokenizer.ok()) continue;
    ++opened;
    const auto ids = (*tokenizer)->Encode("a ab \xFF n\u00E9", true);
    if (ids.ok()) ExpectStreams(**tokenizer, *ids, true);
  }
  EXPECT_GT(opened, 10);
}

}  // namespace
}  // namespace switchyard::tokenizer
