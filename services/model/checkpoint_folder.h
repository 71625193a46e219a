#pragma once

// Opens files of a checkpoint's folder and nothing else: a name is a plain file name, and what it
// leads to is a regular file in the folder. A symbolic link is refused, except the one that the
// Hugging Face cache makes itself (snapshots/REVISION/NAME -> ../../blobs/HASH).

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/base/unique_fd.h"

namespace switchyard::model {

// Whether a name stays in the folder that it is looked up in: no path, not hidden, not empty.
bool IsPlainFileName(const std::string& name);

// Const methods are safe from any thread. Move-only.
class CheckpointFolder {
 public:
  static absl::StatusOr<CheckpointFolder> Open(const std::string& path);

  const std::string& path() const { return path_; }
  std::string PathOf(const std::string& name) const;  // for messages

  bool Contains(const std::string& name) const;
  absl::StatusOr<UniqueFd> OpenFile(const std::string& name) const;  // for reading
  absl::StatusOr<std::string> ReadFile(const std::string& name, size_t limit) const;

  // The name of some file with this ending, for example ".bin"; empty when there is none.
  absl::StatusOr<std::string> FindEnding(const std::string& ending) const;

 private:
  CheckpointFolder(std::string path, UniqueFd fd);

  std::string path_;
  UniqueFd fd_;
};

}  // namespace switchyard::model
