#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace switchyard::tokenizer {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// Length in bytes of the well-formed UTF-8 character at the start of `text`, 0 if there is none.
size_t CharacterSize(std::string_view text);

// Appends `bytes` to *text with every byte that is part of no well-formed character as one U+FFFD.
void AppendValidUtf8(std::string_view bytes, std::string* text);

// The same with one U+FFFD for each longest piece of a bad sequence that could have begun a
// character, as Unicode recommends.
void AppendRepairedUtf8(std::string_view bytes, std::string* text);

bool IsValidUtf8(std::string_view text);

// Whether `text` followed by the decoding of `bytes` ends in U+FFFD.
bool EndsInReplacement(std::string_view text, std::string_view bytes);

}  // namespace switchyard::tokenizer
