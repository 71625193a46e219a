#pragma once

// For tests: the tensors of a checkpoint as values, to write a slightly different one.

#include <string>
#include <vector>

#include "services/model/safetensors_writer.h"

namespace switchyard::model {

struct EditableTensor {
  TensorDeclaration declaration;
  std::string bytes;
};

// Fail the test when the file cannot be read or written.
std::vector<EditableTensor> ReadTensors(const std::string& path);
void WriteTensors(const std::string& path, const std::vector<EditableTensor>& tensors);

// The tensor of this name, which must be there.
EditableTensor& Named(std::vector<EditableTensor>& tensors, const std::string& name);

}  // namespace switchyard::model
