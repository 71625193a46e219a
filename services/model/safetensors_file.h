#pragma once

// Reads tensors of one safetensors file by pread. Opening reads and checks the header only.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/base/unique_fd.h"
#include "services/model/safetensors_header.h"

namespace switchyard::model {

// Immutable after Open; const methods are safe from any thread. Move-only.
class SafetensorsFile {
 public:
  static absl::StatusOr<SafetensorsFile> Open(const std::string& path);

  // Takes over an open file; `path` is what errors call it.
  static absl::StatusOr<SafetensorsFile> FromFd(UniqueFd fd, std::string path);

  const std::string& path() const { return path_; }
  const SafetensorsTable& tensors() const { return tensors_; }
  const SafetensorsTensor* Find(std::string_view name) const;  // nullptr when there is none

  // Bytes [offset, offset + bytes) of the tensor's data.
  absl::Status Read(const SafetensorsTensor& tensor, uint64_t offset, uint64_t bytes,
                    void* destination) const;

  // Asks the kernel to start reading the range into the page cache.
  void Prefetch(const SafetensorsTensor& tensor, uint64_t offset, uint64_t bytes) const;

  // A whole tensor, which must have exactly this type and element size: float for F32, int64_t for
  // I64, uint8_t for U8, uint16_t for BF16.
  template <typename T>
  absl::StatusOr<std::vector<T>> ReadAll(std::string_view name, StoredType type) const {
    absl::StatusOr<const SafetensorsTensor*> tensor = Require(name, type, sizeof(T));
    if (!tensor.ok()) return tensor.status();
    std::vector<T> values(static_cast<size_t>((*tensor)->elements()));
    if (absl::Status status = Read(**tensor, 0, (*tensor)->bytes(), values.data()); !status.ok()) {
      return status;
    }
    return values;
  }

 private:
  SafetensorsFile(UniqueFd fd, std::string path, uint64_t data_start, SafetensorsTable tensors);

  absl::StatusOr<const SafetensorsTensor*> Require(std::string_view name, StoredType type,
                                                   size_t element_bytes) const;

  UniqueFd fd_;
  std::string path_;
  uint64_t data_start_ = 0;
  SafetensorsTable tensors_;
};

}  // namespace switchyard::model
