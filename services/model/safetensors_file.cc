#include "services/model/safetensors_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/check.h"
#include "services/base/file.h"
#include "services/base/status_macros.h"

namespace switchyard::model {

SafetensorsFile::SafetensorsFile(UniqueFd fd, std::string path, uint64_t data_start,
                                 SafetensorsTable tensors)
    : fd_(std::move(fd)),
      path_(std::move(path)),
      data_start_(data_start),
      tensors_(std::move(tensors)) {}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("opening ", path));
  return FromFd(std::move(fd), path);
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::FromFd(UniqueFd fd, std::string path) {
  struct stat info;
  if (fstat(fd.get(), &info) != 0)
    return absl::ErrnoToStatus(errno, absl::StrCat("reading ", path));
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  }
  const auto file_bytes = static_cast<uint64_t>(info.st_size);
  uint8_t prefix[kSafetensorsLengthBytes];
  RETURN_IF_ERROR(ReadExactly(fd.get(), prefix, sizeof(prefix), 0, path));
  ASSIGN_OR_RETURN(const uint64_t header_bytes, ParseSafetensorsLength(prefix, file_bytes, path));
  std::string header(header_bytes, '\0');
  RETURN_IF_ERROR(
      ReadExactly(fd.get(), header.data(), header_bytes, kSafetensorsLengthBytes, path));
  const uint64_t data_start = kSafetensorsLengthBytes + header_bytes;
  ASSIGN_OR_RETURN(SafetensorsTable tensors,
                   ParseSafetensorsHeader(header, file_bytes - data_start, path));
  return SafetensorsFile(std::move(fd), std::move(path), data_start, std::move(tensors));
}

const SafetensorsTensor* SafetensorsFile::Find(std::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

absl::Status SafetensorsFile::Read(const SafetensorsTensor& tensor, uint64_t offset, uint64_t bytes,
                                   void* destination) const {
  CHECK(offset <= tensor.bytes() && bytes <= tensor.bytes() - offset)
      << "range beyond a tensor of " << path_;
  return ReadExactly(fd_.get(), destination, bytes, data_start_ + tensor.begin + offset, path_);
}

void SafetensorsFile::Prefetch(const SafetensorsTensor& tensor, uint64_t offset,
                               uint64_t bytes) const {
  // Only advice: where a file system does not know it, reading works all the same.
  posix_fadvise(fd_.get(), static_cast<off_t>(data_start_ + tensor.begin + offset),
                static_cast<off_t>(bytes), POSIX_FADV_WILLNEED);
}

absl::StatusOr<const SafetensorsTensor*> SafetensorsFile::Require(std::string_view name,
                                                                  StoredType type,
                                                                  size_t element_bytes) const {
  CHECK(static_cast<size_t>(SizeOf(type)) == element_bytes) << "element type of " << name;
  const SafetensorsTensor* tensor = Find(name);
  if (tensor == nullptr) {
    return absl::NotFoundError(absl::StrCat(path_, " has no tensor \"", std::string(name), "\""));
  }
  if (tensor->type != type) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": tensor \"", std::string(name),
                                                   "\" has type ", std::string(Name(tensor->type)),
                                                   ", not ", std::string(Name(type))));
  }
  return tensor;
}

}  // namespace switchyard::model
