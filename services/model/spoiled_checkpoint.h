#pragma once

// A good checkpoint to spoil, for tests of what must be refused.

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "services/base/file.h"
#include "services/model/checkpoint.h"
#include "services/model/tensor_edit.h"

namespace switchyard::model {

// A copy of a checkpoint in one file, in the test's own folder `name`. Tensors are edited in memory
// and written when it is opened.
class SpoiledCheckpoint {
 public:
  SpoiledCheckpoint(const std::string& source, const std::string& name)
      : folder_(::testing::TempDir() + "/spoiled/" + name) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    std::filesystem::copy_file(source + "/config.json", folder_ + "/config.json");
    tensors_ = ReadTensors(source + "/model.safetensors");
  }

  std::vector<EditableTensor>& tensors() { return tensors_; }
  const std::vector<EditableTensor>& tensors() const { return tensors_; }
  EditableTensor& operator[](const std::string& name) { return Named(tensors_, name); }

  void Erase(const std::string& prefix) {
    std::erase_if(tensors_, [&](const EditableTensor& tensor) {
      return tensor.declaration.name.starts_with(prefix);
    });
  }

  void EditConfig(const std::string& key, const nlohmann::json& value) {
    const std::string path = folder_ + "/config.json";
    nlohmann::json config = nlohmann::json::parse(*ReadWholeFile(path, 1 << 20));
    config[key] = value;
    ASSERT_TRUE(WriteWholeFile(path, config.dump()).ok());
  }

  absl::StatusOr<Checkpoint> Open() const {
    WriteTensors(folder_ + "/model.safetensors", tensors_);
    return Checkpoint::OpenToRead(folder_);
  }

  void ExpectRefused(const std::string& text) const {
    const auto checkpoint = Open();
    ASSERT_FALSE(checkpoint.ok()) << text;
    EXPECT_NE(checkpoint.status().message().find(text), std::string::npos)
        << checkpoint.status() << "\nwanted " << text;
  }

 private:
  std::string folder_;
  std::vector<EditableTensor> tensors_;
};

}  // namespace switchyard::model
