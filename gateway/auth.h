#pragma once

// Bearer keys. Only their SHA-256 is kept, and every comparison takes the same time.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::gateway {

// Immutable; safe to use from many threads.
class Authenticator {
 public:
  // No keys: everybody may enter.
  explicit Authenticator(const std::vector<std::string>& keys);

  // Whether a request may go on, by its path as it was sent and its Authorization header. Only
  // "/health", spelled exactly so, is open to all.
  bool Allows(std::string_view path, std::string_view authorization) const;

 private:
  using Digest = std::array<uint8_t, 32>;
  static Digest Hash(std::string_view text);

  std::vector<Digest> keys_;
};

}  // namespace switchyard::gateway
