#pragma once

// NCCL's functions, from a library that is loaded when they are wanted and never linked: it is 340
// MB, and a machine with GPUs mostly has one.

#include <nccl.h>

#include <string>

#include "absl/status/statusor.h"

namespace switchyard::kernels {

// The oldest that can be used: it was the first whose communicators can be aborted from several
// threads at once.
inline constexpr int kOldestNccl = NCCL_VERSION(2, 19, 1);

// The functions that links use (nccl_links.h).
struct NcclLibrary {
  int version = 0;  // as NCCL_VERSION
  decltype(&::ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&::ncclCommInitRankConfig) comm_init_rank_config = nullptr;
  decltype(&::ncclCommGetAsyncError) comm_get_async_error = nullptr;
  decltype(&::ncclCommAbort) comm_abort = nullptr;
  decltype(&::ncclSend) send = nullptr;
  decltype(&::ncclRecv) recv = nullptr;
};

// Loads libnccl.so.2: the one that the process has or the dynamic linker finds (LD_LIBRARY_PATH,
// the system's), else the one that `scripts/setup --cuda` installed where this was built. It stays
// loaded until the process ends. An error says what is wrong and what to do:
//
//   kNotFound             there is none
//   kFailedPrecondition   it cannot be loaded, is too old or lacks a function
absl::StatusOr<NcclLibrary> LoadNccl();

// The same from the file at `path`.
absl::StatusOr<NcclLibrary> LoadNccl(const std::string& path);

}  // namespace switchyard::kernels
