#include "services/model/safetensors_header.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace switchyard::model {
namespace {

std::string Entry(const std::string& name, const std::string& type, const std::string& shape,
                  const std::string& offsets) {
  return absl::StrCat("\"", name, R"(": {"dtype": ")", type, R"(", "shape": )", shape,
                      R"(, "data_offsets": )", offsets, "}");
}

TEST(SafetensorsHeaderTest, ReadsTypesShapesAndOffsets) {
  const std::string header =
      "{\"__metadata__\": {\"format\": \"pt\"}, " + Entry("w", "BF16", "[2, 3]", "[8, 20]") + ", " +
      Entry("ids", "I64", "[1]", "[0, 8]") + ", " + Entry("scalar", "U8", "[]", "[20, 21]") + ", " +
      Entry("none", "F8_E4M3", "[0, 5]", "[8, 8]") + "}   ";
  const auto table = ParseSafetensorsHeader(header, 21, "x.safetensors");
  ASSERT_TRUE(table.ok()) << table.status();
  ASSERT_EQ(table->size(), 4u);
  const SafetensorsTensor& w = table->at("w");
  EXPECT_EQ(w.type, StoredType::kBF16);
  EXPECT_EQ(w.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(w.begin, 8u);
  EXPECT_EQ(w.elements(), 6);
  EXPECT_EQ(table->at("scalar").elements(), 1);
  EXPECT_EQ(table->at("none").elements(), 0);
}

TEST(SafetensorsHeaderTest, AcceptsAFileWithoutTensors) {
  EXPECT_TRUE(ParseSafetensorsHeader("{}", 0, "x").ok());
}

struct BadHeader {
  const char* what;
  std::string header;
  const char* error;
};

TEST(SafetensorsHeaderTest, RefusesBadHeadersNamingFileAndTensor) {
  const std::string good = Entry("a", "F32", "[2]", "[0, 8]");
  const BadHeader cases[] = {
      {"overlap", "{" + good + "," + Entry("b", "F32", "[2]", "[4, 12]") + "}", "overlap"},
      {"same range",
       "{" + Entry("a", "F32", "[4]", "[0, 16]") + "," + Entry("b", "F32", "[4]", "[0, 16]") + "}",
       "overlap"},
      {"hole", "{" + good + "," + Entry("b", "F32", "[1]", "[12, 16]") + "}", "hole"},
      {"hole at the start", "{" + Entry("a", "F32", "[2]", "[8, 16]") + "}", "hole"},
      {"bytes left", "{" + good + "}", "8 bytes after the last tensor"},
      {"begins past the end", "{" + Entry("a", "F32", "[0]", "[24, 24]") + "}", "truncated"},
      {"past the end", "{" + Entry("a", "F32", "[6]", "[0, 24]") + "}", "truncated"},
      {"backwards", "{" + Entry("a", "F32", "[2]", "[8, 0]") + "}", "end before they begin"},
      {"wrong span", "{" + Entry("a", "F32", "[3]", "[0, 16]") + "}", "shape [3] needs 12 bytes"},
      {"overflow", "{" + Entry("a", "F32", "[4611686018427387904, 4]", "[0, 16]") + "}",
       "overflows"},
      {"overflow to zero", "{" + Entry("a", "F32", "[4294967296, 4294967296]", "[0, 0]") + "}",
       "overflows"},
      {"extent above 63 bits", "{" + Entry("a", "U8", "[18446744073709551615]", "[0, 16]") + "}",
       "overflows"},
      {"negative extent", "{" + Entry("a", "F32", "[-4]", "[0, 16]") + "}", "negative"},
      {"fractional extent", "{" + Entry("a", "F32", "[4.0]", "[0, 16]") + "}", "64-bit integer"},
      {"huge offset", "{" + Entry("a", "F32", "[4]", "[0, 99999999999999999999]") + "}",
       "64-bit integer"},
      {"three offsets", "{" + Entry("a", "F32", "[4]", "[0, 16, 16]") + "}", "two numbers"},
      {"one offset", "{" + Entry("a", "F32", "[4]", "[16]") + "}", "two numbers"},
      {"nested shape", "{" + Entry("a", "F32", "[[4]]", "[0, 16]") + "}", "unexpected an array"},
      {"rank", "{" + Entry("a", "F32", "[1,1,1,1,1,1,1,1,4]", "[0, 16]") + "}", "dimensions"},
      {"dtype", "{" + Entry("a", "F31", "[4]", "[0, 16]") + "}", "unknown dtype \"F31\""},
      {"duplicate tensor", "{" + good + "," + Entry("a", "F32", "[2]", "[8, 16]") + "}",
       "tensor \"a\": duplicate key"},
      {"duplicate field",
       R"({"a": {"dtype": "F32", "dtype": "F32", "shape": [4], "data_offsets": [0, 16]}})",
       "duplicate field"},
      {"duplicate metadata", R"({"__metadata__": {}, "__metadata__": {}})", "duplicate key"},
      {"missing field", R"({"a": {"dtype": "F32", "shape": [4]}})", "data_offsets"},
      {"unknown field", R"({"a": {"dtype": "F32", "code": "x"}})", "unknown field \"code\""},
      {"array at the top", "[]", "unexpected an array"},
      {"number as tensor", R"({"a": 1})", "unexpected a number"},
      {"metadata not strings", R"({"__metadata__": {"a": 1}})", "unexpected a number"},
      {"deep", R"({"a": )" + std::string(100'000, '['), "unexpected an array"},
      {"long name", "{\"" + std::string(600, 'n') + "\": {}}", "tensor name of 600 bytes"},
      {"not JSON", "{\"a\": ", "x.safetensors"},
      {"empty", "", "x.safetensors"},
      {"bad UTF-8", "{\"\xff\": {}}", "UTF-8"},
      {"trailing text", "{} {}", "x.safetensors"},
  };
  for (const BadHeader& bad : cases) {
    const auto table = ParseSafetensorsHeader(bad.header, 16, "x.safetensors");
    ASSERT_FALSE(table.ok()) << bad.what;
    const std::string message(table.status().message());
    EXPECT_NE(message.find("x.safetensors"), std::string::npos) << bad.what << ": " << message;
    EXPECT_NE(message.find(bad.error), std::string::npos) << bad.what << ": " << message;
  }
}

TEST(SafetensorsHeaderTest, BoundsTheNumberOfTensors) {
  std::string header = "{";
  for (size_t i = 0; i <= kMaxSafetensorsTensors; ++i) {
    absl::StrAppend(&header, i == 0 ? "" : ",", "\"", i,
                    R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})");
  }
  const auto table = ParseSafetensorsHeader(header + "}", 0, "x.safetensors");
  EXPECT_EQ(table.status().message(),
            "x.safetensors: safetensors header: tensor \"1048576\": more than 1048576 tensors");
}

TEST(SafetensorsHeaderTest, ChecksTheLengthBeforeAnythingIsAllocated) {
  const auto parse = [](std::initializer_list<uint8_t> bytes, uint64_t file_bytes) {
    uint8_t prefix[8] = {};
    std::copy(bytes.begin(), bytes.end(), prefix);
    return ParseSafetensorsLength(prefix, file_bytes, "x");
  };
  EXPECT_EQ(*parse({2}, 10), 2u);
  EXPECT_FALSE(parse({3}, 10).ok());
  EXPECT_FALSE(parse({0}, 7).ok());
  EXPECT_FALSE(parse({0, 0, 0, 0, 0, 0, 0, 0x80}, UINT64_MAX).ok());                // 2^63
  EXPECT_FALSE(parse({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 100).ok());  // 2^64 - 1
  EXPECT_FALSE(parse({0x01, 0xe1, 0xf5, 0x05}, UINT64_MAX).ok());                   // 100 MB + 1
  EXPECT_EQ(*parse({0x00, 0xe1, 0xf5, 0x05}, UINT64_MAX), kMaxSafetensorsHeaderBytes);
}

}  // namespace
}  // namespace switchyard::model
