#pragma once

// Whole-range file reads and writes with errors that name the file. All are safe from any thread.

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace switchyard {

// Reads exactly `bytes` at `offset`; a shorter file is kDataLoss. `name` is what errors call it.
absl::Status ReadExactly(int fd, void* destination, size_t bytes, uint64_t offset,
                         const std::string& name);

absl::Status WriteExactly(int fd, const void* source, size_t bytes, uint64_t offset,
                          const std::string& name);

// The whole of an open regular file of at most `limit` bytes.
absl::StatusOr<std::string> ReadWholeFile(int fd, size_t limit, const std::string& name);

// The same by path.
absl::StatusOr<std::string> ReadWholeFile(const std::string& path, size_t limit);

// Creates or overwrites a file.
absl::Status WriteWholeFile(const std::string& path, const std::string& content);

}  // namespace switchyard
