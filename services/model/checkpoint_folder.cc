#include "services/model/checkpoint_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/base/file.h"
#include "services/base/status_macros.h"

namespace switchyard::model {
namespace {

// "../../blobs/" and a SHA-1 or SHA-256 in hexadecimal.
bool IsCacheBlob(const std::string& target) {
  const std::string folder = "../../blobs/";
  if (!absl::StartsWith(target, folder)) return false;
  const std::string hash = target.substr(folder.size());
  return (hash.size() == 40 || hash.size() == 64) &&
         std::all_of(hash.begin(), hash.end(), [](char c) { return absl::ascii_isxdigit(c); });
}

}  // namespace

bool IsPlainFileName(const std::string& name) {
  return !name.empty() && name.size() <= NAME_MAX && name[0] != '.' &&
         name.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
}

CheckpointFolder::CheckpointFolder(std::string path, UniqueFd fd)
    : path_(std::move(path)), fd_(std::move(fd)) {}

absl::StatusOr<CheckpointFolder> CheckpointFolder::Open(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) {
    return absl::ErrnoToStatus(errno, absl::StrCat("opening the checkpoint folder ", path));
  }
  return CheckpointFolder(path, std::move(fd));
}

std::string CheckpointFolder::PathOf(const std::string& name) const {
  return absl::StrCat(path_, absl::EndsWith(path_, "/") ? "" : "/", name);
}

bool CheckpointFolder::Contains(const std::string& name) const {
  struct stat info;
  return fstatat(fd_.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0;
}

absl::StatusOr<UniqueFd> CheckpointFolder::OpenFile(const std::string& name) const {
  if (!IsPlainFileName(name)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": \"", name.substr(0, 64), "\" is not the plain name of a file"));
  }
  // Non-blocking, so that opening a pipe cannot hang before it is refused.
  constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  UniqueFd fd(openat(fd_.get(), name.c_str(), kFlags));
  if (!fd.valid() && errno == ELOOP) {
    std::string target(PATH_MAX, '\0');
    const ssize_t length = readlinkat(fd_.get(), name.c_str(), target.data(), target.size());
    target.resize(length > 0 ? static_cast<size_t>(length) : 0);
    if (!IsCacheBlob(target)) {
      return absl::InvalidArgumentError(absl::StrCat(
          PathOf(name), " is a symbolic link, which is not followed; copy the file in its place"));
    }
    fd = UniqueFd(openat(fd_.get(), target.c_str(), kFlags));
  }
  if (!fd.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("opening ", PathOf(name)));
  struct stat info;
  if (fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(PathOf(name), " is not a regular file"));
  }
  return fd;
}

absl::StatusOr<std::string> CheckpointFolder::ReadFile(const std::string& name,
                                                       size_t limit) const {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(name));
  return ReadWholeFile(fd.get(), limit, PathOf(name));
}

absl::StatusOr<std::string> CheckpointFolder::FindEnding(const std::string& ending) const {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(path_.c_str()), closedir);
  if (folder == nullptr) return absl::ErrnoToStatus(errno, absl::StrCat("listing ", path_));
  std::string found;
  while (const dirent* entry = readdir(folder.get())) {
    const std::string name = entry->d_name;
    if (absl::EndsWith(name, ending) && (found.empty() || name < found)) found = name;
  }
  return found;
}

}  // namespace switchyard::model
