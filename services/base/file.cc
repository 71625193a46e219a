#include "services/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/base/unique_fd.h"

namespace switchyard {

absl::Status ReadExactly(int fd, void* destination, size_t bytes, uint64_t offset,
                         const std::string& name) {
  char* cursor = static_cast<char*>(destination);
  while (bytes > 0) {
    const ssize_t got = pread(fd, cursor, bytes, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::ErrnoToStatus(errno, absl::StrCat("reading ", name));
    if (got == 0) {
      return absl::DataLossError(absl::StrCat(name, " is truncated: it ends ", bytes,
                                              " bytes too early, at byte ", offset));
    }
    cursor += got;
    offset += static_cast<uint64_t>(got);
    bytes -= static_cast<size_t>(got);
  }
  return absl::OkStatus();
}

absl::Status WriteExactly(int fd, const void* source, size_t bytes, uint64_t offset,
                          const std::string& name) {
  const char* cursor = static_cast<const char*>(source);
  while (bytes > 0) {
    const ssize_t put = pwrite(fd, cursor, bytes, static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return absl::ErrnoToStatus(errno, absl::StrCat("writing ", name));
    cursor += put;
    offset += static_cast<uint64_t>(put);
    bytes -= static_cast<size_t>(put);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadWholeFile(int fd, size_t limit, const std::string& name) {
  struct stat info;
  if (fstat(fd, &info) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("reading ", name));
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is not a regular file"));
  }
  if (static_cast<uint64_t>(info.st_size) > limit) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " has ", info.st_size, " bytes; at most ", limit, " are read"));
  }
  std::string content(static_cast<size_t>(info.st_size), '\0');
  RETURN_IF_ERROR(ReadExactly(fd, content.data(), content.size(), 0, name));
  return content;
}

absl::StatusOr<std::string> ReadWholeFile(const std::string& path, size_t limit) {
  // Non-blocking, so that opening a pipe cannot hang before it is refused.
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("opening ", path));
  return ReadWholeFile(fd.get(), limit, path);
}

absl::Status WriteWholeFile(const std::string& path, const std::string& content) {
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("creating ", path));
  return WriteExactly(fd.get(), content.data(), content.size(), 0, path);
}

}  // namespace switchyard
