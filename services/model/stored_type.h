#pragma once

// Element types that a safetensors file can hold. Only some of them can be computed with
// (kernels::DType); the others are understood so that a file with them can be read and described.

#include <cstdint>
#include <optional>
#include <string_view>

namespace switchyard::model {

enum class StoredType {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kF64,
  kI64,
  kU64,
  kC64,
};

std::optional<StoredType> ParseStoredType(std::string_view name);  // "BF16"
std::string_view Name(StoredType type);
int64_t SizeOf(StoredType type);  // bytes

}  // namespace switchyard::model
