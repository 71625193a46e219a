#include "services/tokenizer/utf8.h"

#include <algorithm>
#include <cstdint>

namespace switchyard::tokenizer {
namespace {

bool IsContinuation(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

// Length of the longest beginning of `bytes` that could begin a character, or 1. `bytes` begins
// with none that is whole.
size_t BadSequenceSize(std::string_view bytes) {
  const auto first = static_cast<uint8_t>(bytes[0]);
  if (first < 0xC2 || first > 0xF4 || bytes.size() < 2 || !IsContinuation(bytes[1])) return 1;
  const auto second = static_cast<uint8_t>(bytes[1]);
  const bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
  const bool surrogate = first == 0xED && second >= 0xA0;
  const bool too_large = first == 0xF4 && second >= 0x90;
  if (first < 0xE0 || overlong || surrogate || too_large) return 1;
  const bool third = first >= 0xF0 && bytes.size() > 2 && IsContinuation(bytes[2]);
  return third ? 3 : 2;
}

}  // namespace

size_t CharacterSize(std::string_view text) {
  if (text.empty()) return 0;
  const auto first = static_cast<uint8_t>(text[0]);
  if (first < 0x80) return 1;
  size_t size = 0;
  uint32_t smallest = 0;  // below it the form is overlong
  uint32_t character = 0;
  if ((first & 0xE0) == 0xC0) {
    size = 2, smallest = 0x80, character = first & 0x1F;
  } else if ((first & 0xF0) == 0xE0) {
    size = 3, smallest = 0x800, character = first & 0x0F;
  } else if ((first & 0xF8) == 0xF0) {
    size = 4, smallest = 0x10000, character = first & 0x07;
  }
  if (size == 0 || text.size() < size) return 0;
  for (size_t i = 1; i < size; ++i) {
    if (!IsContinuation(text[i])) return 0;
    character = character << 6 | (static_cast<uint8_t>(text[i]) & 0x3F);
  }
  const bool surrogate = character >= 0xD800 && character < 0xE000;
  return character < smallest || character > 0x10FFFF || surrogate ? 0 : size;
}

void AppendValidUtf8(std::string_view bytes, std::string* text) {
  while (!bytes.empty()) {
    const size_t size = CharacterSize(bytes);
    text->append(size == 0 ? kReplacement : bytes.substr(0, size));
    bytes.remove_prefix(std::max<size_t>(size, 1));
  }
}

void AppendRepairedUtf8(std::string_view bytes, std::string* text) {
  while (!bytes.empty()) {
    const size_t size = CharacterSize(bytes);
    text->append(size == 0 ? kReplacement : bytes.substr(0, size));
    bytes.remove_prefix(size == 0 ? BadSequenceSize(bytes) : size);
  }
}

bool IsValidUtf8(std::string_view text) {
  while (!text.empty()) {
    const size_t size = CharacterSize(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

bool EndsInReplacement(std::string_view text, std::string_view bytes) {
  if (bytes.empty()) return text.ends_with(kReplacement);
  // A character has at most four bytes: the last one is whole iff a character ends at the end of
  // them, and no byte of it belongs to an earlier one, for UTF-8 synchronises itself.
  for (size_t size = 1; size <= std::min<size_t>(4, bytes.size()); ++size) {
    const std::string_view tail = bytes.substr(bytes.size() - size);
    if (CharacterSize(tail) == size) return tail == kReplacement;
  }
  return true;
}

}  // namespace switchyard::tokenizer
