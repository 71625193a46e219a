// The bytes are a whole safetensors file: length, header, data. Whatever they are, the parser
// answers with an error or with tensors that cover the data exactly.

#include <cstdint>
#include <cstring>
#include <string>

#include "services/base/check.h"
#include "services/model/safetensors_header.h"

namespace switchyard::model {
namespace {

void ParseFile(const uint8_t* data, size_t size) {
  uint8_t prefix[kSafetensorsLengthBytes];
  if (size < sizeof(prefix)) return;
  std::memcpy(prefix, data, sizeof(prefix));
  const auto length = ParseSafetensorsLength(prefix, size, "input");
  if (!length.ok()) return;
  CHECK(*length <= size - sizeof(prefix)) << *length;
  const std::string header(reinterpret_cast<const char*>(data) + sizeof(prefix), *length);
  const uint64_t data_bytes = size - sizeof(prefix) - *length;
  const auto table = ParseSafetensorsHeader(header, data_bytes, "input");
  if (!table.ok()) {
    CHECK(!table.status().message().empty()) << "an error must say something";
    return;
  }
  uint64_t covered = 0;
  for (const auto& [name, tensor] : *table) {
    CHECK(tensor.begin <= tensor.end && tensor.end <= data_bytes) << name;
    CHECK(tensor.elements() * SizeOf(tensor.type) == static_cast<int64_t>(tensor.bytes())) << name;
    covered += tensor.bytes();
  }
  CHECK(covered == data_bytes) << covered;
}

}  // namespace
}  // namespace switchyard::model

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  switchyard::model::ParseFile(data, size);
  return 0;
}
