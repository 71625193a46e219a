#pragma once

// The header of a safetensors file: 8 bytes of little-endian length, that much JSON, then the data.
// A file is untrusted: every rule is checked before anything of its size is allocated, and the
// parser keeps nothing but the tensors, of which there is a limit.
//
//   {"__metadata__": {string: string}, NAME: {"dtype": T, "shape": [..], "data_offsets": [b, e]}}

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/model/stored_type.h"

namespace switchyard::model {

inline constexpr uint64_t kSafetensorsLengthBytes = 8;
inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;
inline constexpr size_t kMaxSafetensorsTensors = 1 << 20;
inline constexpr size_t kMaxTensorRank = 8;
inline constexpr size_t kMaxTensorNameBytes = 512;

struct SafetensorsTensor {
  StoredType type = StoredType::kF32;
  std::vector<int64_t> shape;
  uint64_t begin = 0;  // bytes from the start of the data; end - begin = product(shape) * size
  uint64_t end = 0;

  uint64_t bytes() const { return end - begin; }
  int64_t elements() const;
};

using SafetensorsTable = std::map<std::string, SafetensorsTensor, std::less<>>;

// The first 8 bytes of a file of `file_bytes`: the header's length, in range and inside the file.
absl::StatusOr<uint64_t> ParseSafetensorsLength(const uint8_t (&prefix)[kSafetensorsLengthBytes],
                                                uint64_t file_bytes, const std::string& file);

// `header`: the JSON. `data_bytes`: what follows it. The tensors must cover the data exactly: no
// overlap, no hole, nothing after the last one. `file` is what errors call it.
absl::StatusOr<SafetensorsTable> ParseSafetensorsHeader(const std::string& header,
                                                        uint64_t data_bytes,
                                                        const std::string& file);

}  // namespace switchyard::model
