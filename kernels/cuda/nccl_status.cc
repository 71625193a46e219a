#include "kernels/cuda/nccl_status.h"

#include "absl/strings/str_cat.h"

namespace switchyard::kernels {
namespace {

struct Meaning {
  absl::StatusCode code;
  const char* name;
  const char* text;
};

Meaning MeaningOf(ncclResult_t result) {
  switch (result) {
    case ncclUnhandledCudaError:
      return {absl::StatusCode::kInternal, "ncclUnhandledCudaError",
              "a call of CUDA failed; NCCL_DEBUG=WARN shows which"};
    case ncclSystemError:
      return {absl::StatusCode::kUnavailable, "ncclSystemError",
              "a call of the operating system or the network failed; NCCL_DEBUG=WARN shows which"};
    case ncclInternalError:
      return {absl::StatusCode::kInternal, "ncclInternalError",
              "NCCL found a fault of its own or damaged memory"};
    case ncclInvalidArgument:
      return {absl::StatusCode::kInternal, "ncclInvalidArgument", "this is a fault of the program"};
    case ncclInvalidUsage:
      return {absl::StatusCode::kInternal, "ncclInvalidUsage",
              "ranks do not agree, or two ranks share one device, which NCCL refuses"};
    case ncclRemoteError:
      return {absl::StatusCode::kUnavailable, "ncclRemoteError",
              "a peer has exited or cannot be reached; abort the communicator and make another"};
    case ncclInProgress:
      return {absl::StatusCode::kUnavailable, "ncclInProgress", "the call has not finished yet"};
    case ncclTimeout:
      return {absl::StatusCode::kDeadlineExceeded, "ncclTimeout",
              "a peer did not answer; abort the communicator and make another"};
    default:
      return {absl::StatusCode::kInternal, "unknown result",
              "the loaded NCCL is newer than its header"};
  }
}

}  // namespace

absl::Status FromNccl(ncclResult_t result, absl::string_view call) {
  if (result == ncclSuccess) return absl::OkStatus();
  const Meaning meaning = MeaningOf(result);
  return absl::Status(meaning.code, absl::StrCat(call, ": ", meaning.name, " (",
                                                 static_cast<int>(result), "); ", meaning.text));
}

}  // namespace switchyard::kernels
