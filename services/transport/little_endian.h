#pragma once

// Explicit little-endian encoding at byte offsets, so that the wire format depends neither on the
// compiler's struct layout nor on the machine's byte order. Compilers turn each into one move.

#include <concepts>
#include <cstddef>

namespace switchyard::transport {

template <std::unsigned_integral T>
void StoreLittleEndian(std::byte* at, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) at[i] = static_cast<std::byte>(value >> (8 * i));
}

template <std::unsigned_integral T>
T LoadLittleEndian(const std::byte* at) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<T>(value | (static_cast<T>(static_cast<unsigned char>(at[i])) << (8 * i)));
  }
  return value;
}

}  // namespace switchyard::transport
