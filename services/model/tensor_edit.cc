#include "services/model/tensor_edit.h"

#include <gtest/gtest.h>

#include "services/model/safetensors_file.h"

namespace switchyard::model {

std::vector<EditableTensor> ReadTensors(const std::string& path) {
  const auto file = SafetensorsFile::Open(path);
  std::vector<EditableTensor> tensors;
  for (const auto& [name, tensor] : file->tensors()) {
    std::string bytes(tensor.bytes(), '\0');
    EXPECT_TRUE(file->Read(tensor, 0, tensor.bytes(), bytes.data()).ok());
    tensors.push_back({{name, tensor.type, tensor.shape}, std::move(bytes)});
  }
  return tensors;
}

void WriteTensors(const std::string& path, const std::vector<EditableTensor>& tensors) {
  std::vector<TensorDeclaration> declarations;
  for (const EditableTensor& tensor : tensors) declarations.push_back(tensor.declaration);
  auto writer = SafetensorsWriter::Create(path, declarations);
  ASSERT_TRUE(writer.ok()) << writer.status();
  for (const EditableTensor& tensor : tensors) {
    ASSERT_TRUE(writer->Write(tensor.declaration.name, tensor.bytes.data()).ok());
  }
  ASSERT_TRUE(writer->Finish().ok());
}

EditableTensor& Named(std::vector<EditableTensor>& tensors, const std::string& name) {
  for (EditableTensor& tensor : tensors) {
    if (tensor.declaration.name == name) return tensor;
  }
  ADD_FAILURE() << name;
  return tensors.front();
}

}  // namespace switchyard::model
