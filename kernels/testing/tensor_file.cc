#include "kernels/testing/tensor_file.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

namespace switchyard::kernels::testing {

std::map<std::string, Tensor> ReadTensorFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string content((std::istreambuf_iterator<char>(file)), {});
  uint64_t header_bytes = 0;
  if (content.size() >= 8) std::memcpy(&header_bytes, content.data(), 8);
  if (content.size() < 8 || content.size() - 8 < header_bytes) {
    ADD_FAILURE() << "cannot read " << path;
    return {};
  }
  const nlohmann::json header =
      nlohmann::json::parse(content.substr(8, header_bytes), nullptr, /*allow_exceptions=*/false);
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    Tensor& tensor = tensors[name];
    tensor.shape = entry["shape"].get<std::vector<int64_t>>();
    const size_t begin = entry["data_offsets"][0], end = entry["data_offsets"][1];
    const char* data = content.data() + 8 + header_bytes;
    tensor.bytes.assign(data + begin, data + end);
  }
  return tensors;
}

}  // namespace switchyard::kernels::testing
