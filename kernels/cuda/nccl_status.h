#pragma once

// The one place where NCCL's results become absl::Status. Needs NCCL's header and not its library.

#include <nccl.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace switchyard::kernels {

// What `call` ("ncclCommInitRank of rank 1") returned:
//
//   kUnavailable         a peer or the network is gone; the communicator must be aborted
//   kDeadlineExceeded    NCCL waited too long
//   kInternal            CUDA failed below NCCL, or this program has used NCCL wrongly
//
// ncclInProgress is not an error of a non-blocking call; ask for it before this.
absl::Status FromNccl(ncclResult_t result, absl::string_view call);

}  // namespace switchyard::kernels
