#include "kernels/cuda/loader.h"

#include <dlfcn.h>

#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/interface_digest.h"

namespace switchyard::kernels {
namespace {

constexpr char kFile[] = "libswitchyard_cuda.so";
constexpr char kRunfile[] = "switchyard/kernels/cuda/libswitchyard_cuda.so";

bool Exists(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

absl::Status Unusable(const std::string& path, const std::string& why) {
  return absl::FailedPreconditionError(
      absl::StrCat("cannot use ", path, ": ", why,
                   "; take the program and this file from the same build, or use --device cpu"));
}

}  // namespace

absl::StatusOr<const CudaApi*> LoadCudaLibrary() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return absl::NotFoundError("reading /proc/self/exe: " + error.message());
  const std::filesystem::path beside = program.parent_path() / kFile;
  if (Exists(beside)) return LoadCudaLibrary(beside.string());
  const std::filesystem::path runfile = program.string() + ".runfiles/" + kRunfile;
  if (Exists(runfile)) return LoadCudaLibrary(runfile.string());
  return absl::NotFoundError(absl::StrCat(
      "a GPU needs ", kFile, ", which is neither at ", beside.string(), " nor at ",
      runfile.string(),
      ": run scripts/setup --cuda and build again, copy the file beside the program, or use "
      "--device cpu"));
}

absl::StatusOr<const CudaApi*> LoadCudaLibrary(const std::string& path) {
  if (!Exists(path)) return absl::NotFoundError(absl::StrCat("there is no file ", path));
  // Never closed: CUDA's own threads and destructors run until the process ends.
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return Unusable(path, dlerror());
  auto* const entry = reinterpret_cast<CudaEntry*>(dlsym(library, kCudaEntry));
  if (entry == nullptr) return Unusable(path, absl::StrCat("it has no symbol ", kCudaEntry));
  const CudaApi* const api = entry();
  if (std::strcmp(api->interface_digest, kInterfaceDigest) != 0) {
    return Unusable(path, absl::StrCat("it is of another build (interface ", api->interface_digest,
                                       ") than this program (", kInterfaceDigest, ")"));
  }
  const absl::StatusOr<int> count = api->device_count();
  if (!count.ok()) return count.status();
  return api;
}

}  // namespace switchyard::kernels
