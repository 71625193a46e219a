#include "services/model/stored_type.h"

#include <array>
#include <cstddef>

namespace switchyard::model {
namespace {

struct Row {
  std::string_view name;
  int64_t bytes;
};

// In the order of the enumeration.
constexpr std::array<Row, 17> kTypes = {{
    {"BOOL", 1},
    {"U8", 1},
    {"I8", 1},
    {"F8_E5M2", 1},
    {"F8_E4M3", 1},
    {"F8_E8M0", 1},
    {"I16", 2},
    {"U16", 2},
    {"F16", 2},
    {"BF16", 2},
    {"I32", 4},
    {"U32", 4},
    {"F32", 4},
    {"F64", 8},
    {"I64", 8},
    {"U64", 8},
    {"C64", 8},
}};

}  // namespace

std::optional<StoredType> ParseStoredType(std::string_view name) {
  for (size_t i = 0; i < kTypes.size(); ++i) {
    if (kTypes[i].name == name) return static_cast<StoredType>(i);
  }
  return std::nullopt;
}

std::string_view Name(StoredType type) { return kTypes[static_cast<size_t>(type)].name; }

int64_t SizeOf(StoredType type) { return kTypes[static_cast<size_t>(type)].bytes; }

}  // namespace switchyard::model
