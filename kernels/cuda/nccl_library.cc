#include "kernels/cuda/nccl_library.h"

#include <dlfcn.h>

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/nccl_path.h"
#include "kernels/cuda/nccl_status.h"

namespace switchyard::kernels {
namespace {

constexpr char kFile[] = "libnccl.so.2";

std::string NameOf(int version) {
  return absl::StrCat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

absl::Status Unusable(const std::string& path, const std::string& why) {
  return absl::FailedPreconditionError(
      absl::StrCat("cannot use NCCL at ", path, ": ", why, "; install NCCL ", NameOf(kOldestNccl),
                   " or newer and put its folder in LD_LIBRARY_PATH, or use --transport ucx"));
}

template <typename Function>
bool Find(void* library, const char* name, Function& function, std::string& missing) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) missing = name;
  return function != nullptr;
}

absl::StatusOr<NcclLibrary> Take(void* library, const std::string& path) {
  std::string missing;
  decltype(&::ncclGetVersion) get_version = nullptr;
  if (!Find(library, "ncclGetVersion", get_version, missing)) {
    return Unusable(path, absl::StrCat("it has no function ", missing));
  }
  NcclLibrary nccl;
  if (const auto status = FromNccl(get_version(&nccl.version), "ncclGetVersion"); !status.ok()) {
    return status;
  }
  if (nccl.version < kOldestNccl) {
    return Unusable(path, absl::StrCat("its version is ", NameOf(nccl.version)));
  }
  if (!Find(library, "ncclGetUniqueId", nccl.get_unique_id, missing) ||
      !Find(library, "ncclCommInitRankConfig", nccl.comm_init_rank_config, missing) ||
      !Find(library, "ncclCommGetAsyncError", nccl.comm_get_async_error, missing) ||
      !Find(library, "ncclCommAbort", nccl.comm_abort, missing) ||
      !Find(library, "ncclSend", nccl.send, missing) ||
      !Find(library, "ncclRecv", nccl.recv, missing)) {
    return Unusable(path, absl::StrCat("it has no function ", missing));
  }
  return nccl;
}

}  // namespace

absl::StatusOr<NcclLibrary> LoadNccl() {
  // Finds the one that is in the process already, under whatever path.
  if (void* const library = dlopen(kFile, RTLD_NOW | RTLD_LOCAL)) return Take(library, kFile);
  const std::string why = dlerror();
  std::error_code error;
  if (std::filesystem::exists(kInstalledNccl, error)) return LoadNccl(kInstalledNccl);
  return absl::NotFoundError(absl::StrCat(
      "--transport nccl needs ", kFile, ": ", why, ", and there is no ", kInstalledNccl,
      ": put the folder of NCCL ", NameOf(kOldestNccl),
      " or newer in LD_LIBRARY_PATH, run scripts/setup --cuda, or use --transport ucx"));
}

absl::StatusOr<NcclLibrary> LoadNccl(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return absl::NotFoundError(absl::StrCat("there is no file ", path));
  }
  // Never closed: its threads run until the process ends.
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return Unusable(path, dlerror());
  return Take(library, path);
}

}  // namespace switchyard::kernels
