#include "services/tokenizer/utf8.h"

#include <gtest/gtest.h>

namespace switchyard::tokenizer {
namespace {

std::string Valid(std::string_view bytes) {
  std::string text;
  AppendValidUtf8(bytes, &text);
  return text;
}

TEST(Utf8Test, KeepsWellFormedTextAndReplacesEveryOtherByte) {
  EXPECT_EQ(Valid("aé€😀"), "aé€😀");
  EXPECT_EQ(Valid("\xE4\xBD"), "\uFFFD\uFFFD");                      // an unfinished character
  EXPECT_EQ(Valid("\xE4x"), "\uFFFDx");                              // a broken one
  EXPECT_EQ(Valid("\xC0\x80"), "\uFFFD\uFFFD");                      // overlong NUL
  EXPECT_EQ(Valid("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");            // a surrogate
  EXPECT_EQ(Valid("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // beyond U+10FFFF
  EXPECT_EQ(Valid(std::string_view("a\0b", 3)), std::string_view("a\0b", 3));
}

TEST(Utf8Test, TellsValidText) {
  EXPECT_TRUE(IsValidUtf8("日本語 😀"));
  EXPECT_FALSE(IsValidUtf8("日本語\xF0\x9F"));
}

TEST(Utf8Test, EndsInReplacementAgreesWithDecodingAll) {
  const std::string pieces[] = {
      "", "a", "\xE4", "\xBD", "\xA0", "\xEF\xBF\xBD", "\xF0\x9F\x98\x80", "\xC3\xA9"};
  for (const std::string& a : pieces) {
    for (const std::string& b : pieces) {
      for (const std::string& c : pieces) {
        const std::string bytes = a + b + c;
        EXPECT_EQ(EndsInReplacement("x", bytes), Valid("x" + bytes).ends_with(kReplacement));
      }
    }
  }
  EXPECT_TRUE(EndsInReplacement("x\uFFFD", ""));
  EXPECT_FALSE(EndsInReplacement("", ""));
}

}  // namespace
}  // namespace switchyard::tokenizer
