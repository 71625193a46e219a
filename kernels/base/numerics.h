#pragma once

// Numerics classes and element types. A class fixes every rounding and every order of summation
// (docs/arithmetic.md), so two roles of one class produce the same bits on any hardware.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace switchyard::kernels {

// Values are part of the wire format (frame header): never renumber.
enum class NumericsClass : uint8_t {
  kFp32 = 1,     // fp32 weights and activations, one fma a product
  kBf16 = 2,     // bf16 weights and matmul inputs, fma in pairs, as VDPBF16PS
  kBf16Amx = 3,  // bf16, even and odd chains per 32, as TDPBF16PS: defined, offered by no host yet
  // bf16, sums of Hopper's tensor cores (docs/gpu.md): GPUs only, and their order is the
  // hardware's.
  kBf16Sm90 = 4,
};

enum class DType : uint8_t { kFloat32 = 1, kBfloat16 = 2 };

constexpr size_t SizeOf(DType type) { return type == DType::kFloat32 ? 4 : 2; }

// The type in which activations travel between roles and enter matmuls, and the type to which an
// expert's weighted output row is rounded.
constexpr DType WireType(NumericsClass numerics) {
  return numerics == NumericsClass::kFp32 ? DType::kFloat32 : DType::kBfloat16;
}

constexpr std::string_view Name(NumericsClass numerics) {
  switch (numerics) {
    case NumericsClass::kFp32:
      return "fp32";
    case NumericsClass::kBf16:
      return "bf16";
    case NumericsClass::kBf16Amx:
      return "bf16-amx";
    case NumericsClass::kBf16Sm90:
      return "bf16-sm90";
  }
  return "unknown";
}

constexpr std::optional<NumericsClass> ParseNumericsClass(std::string_view name) {
  if (name == "fp32") return NumericsClass::kFp32;
  if (name == "bf16") return NumericsClass::kBf16;
  if (name == "bf16-amx") return NumericsClass::kBf16Amx;
  if (name == "bf16-sm90") return NumericsClass::kBf16Sm90;
  return std::nullopt;
}

}  // namespace switchyard::kernels
