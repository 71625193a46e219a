// A NCCL that is too old.

#include <nccl.h>

extern "C" ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION(2, 18, 6);
  return ncclSuccess;
}
