#pragma once

// Reads expected values out of a small safetensors file that a test trusts.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace switchyard::kernels::testing {

struct Tensor {
  std::vector<int64_t> shape;
  std::vector<char> bytes;

  // The elements as T; the test knows the type.
  template <typename T>
  const T* As() const {
    return reinterpret_cast<const T*>(bytes.data());
  }
};

// All tensors of a file by name. Fails the test, and returns none, when the file cannot be read.
std::map<std::string, Tensor> ReadTensorFile(const std::string& path);

}  // namespace switchyard::kernels::testing
