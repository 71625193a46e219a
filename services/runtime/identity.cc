#include "services/runtime/identity.h"

#include <xxhash.h>

#include <random>

namespace switchyard::runtime {

uint64_t MemberId(std::string_view name) {
  const uint64_t id = XXH3_64bits(name.data(), name.size());
  return id == 0 ? 1 : id;
}

uint64_t NewIncarnation() {
  std::random_device random;
  uint64_t incarnation = 0;
  while (incarnation == 0) {
    incarnation = (uint64_t{random()} << 32) | uint64_t{random()};
  }
  return incarnation;
}

}  // namespace switchyard::runtime
