#include "gateway/auth.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

namespace switchyard::gateway {
namespace {

constexpr std::string_view kOpenPath = "/health";
constexpr std::string_view kScheme = "bearer ";

bool StartsWithScheme(std::string_view authorization) {
  if (authorization.size() < kScheme.size()) return false;
  for (size_t i = 0; i < kScheme.size(); ++i) {
    const char c = authorization[i];
    if ((c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c) != kScheme[i]) return false;
  }
  return true;
}

}  // namespace

Authenticator::Authenticator(const std::vector<std::string>& keys) {
  for (const std::string& key : keys) keys_.push_back(Hash(key));
}

Authenticator::Digest Authenticator::Hash(std::string_view text) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return digest;
}

bool Authenticator::Allows(std::string_view path, std::string_view authorization) const {
  if (keys_.empty() || path == kOpenPath) return true;
  if (!StartsWithScheme(authorization)) return false;
  const Digest given = Hash(authorization.substr(kScheme.size()));
  int matches = 0;  // every key is compared, so that the time does not tell which one it was
  for (const Digest& key : keys_) {
    matches |= CRYPTO_memcmp(given.data(), key.data(), key.size()) == 0 ? 1 : 0;
  }
  return matches != 0;
}

}  // namespace switchyard::gateway
