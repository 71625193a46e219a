// A NCCL that is new enough and lacks functions.

#include <nccl.h>

extern "C" ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}

extern "C" ncclResult_t ncclGetUniqueId(ncclUniqueId*) { return ncclSuccess; }
