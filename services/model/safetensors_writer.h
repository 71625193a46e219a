#pragma once

// Writes a safetensors file: the tensors' names, types and shapes are known first, their data
// comes in any order and from any thread. The bytes depend on the tensors only. The file appears
// under its name when it is complete: until then it is PATH.partial.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/base/unique_fd.h"
#include "services/model/safetensors_header.h"

namespace switchyard::model {

struct TensorDeclaration {
  std::string name;
  StoredType type = StoredType::kF32;
  std::vector<int64_t> shape;
};

// Move-only. Destruction without Finish removes what was written.
class SafetensorsWriter {
 public:
  // Tensors are laid out by element size, largest first, then by name, so that each is aligned.
  // Refuses duplicate names and shapes out of range.
  static absl::StatusOr<SafetensorsWriter> Create(const std::string& path,
                                                  const std::vector<TensorDeclaration>& tensors);

  SafetensorsWriter(SafetensorsWriter&&) noexcept;
  SafetensorsWriter& operator=(SafetensorsWriter&&) noexcept;
  ~SafetensorsWriter();

  // Writes bytes [offset, offset + bytes) of a tensor. Each byte must be written once. Thread-safe.
  absl::Status Write(std::string_view tensor, uint64_t offset, const void* source, uint64_t bytes);

  // Writes a whole tensor.
  absl::Status Write(std::string_view tensor, const void* source);

  // Renames the file into place; an error when some tensor's data is missing.
  absl::Status Finish();

 private:
  struct State;
  explicit SafetensorsWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::model
