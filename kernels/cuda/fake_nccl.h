#pragma once

// How tests steer fake_nccl.so, which stands for NCCL where there is no device: its ranks are all
// in one process, and transfers copy between memory of the host. Like NCCL's, its communicators
// connect only when both ranks are there, and the first transfer of one is launched some calls
// later.

#include <nccl.h>

#include <atomic>
#include <cstdint>

namespace switchyard::kernels {

// What the fake takes a cudaStream_t to point to.
struct FakeStream {
  std::atomic<uint64_t> started = 0;   // transfers put on it
  std::atomic<uint64_t> finished = 0;  // of them
};

// Thread-safe.
class FakeNccl {
 public:
  virtual ~FakeNccl() = default;

  // Transfers started from now on never finish, until this is turned off.
  virtual void HangTransfers(bool hang) = 0;

  // Communicators made from now on never connect, until this is turned off.
  virtual void HangConnections(bool hang) = 0;

  // Every communicator there is fails with this.
  virtual void FailAll(ncclResult_t result) = 0;

  // Aborts do not return, until this is turned off.
  virtual void HoldAborts(bool hold) = 0;

  // Communicators that were made and not aborted; aborts that have begun.
  virtual int live() const = 0;
  virtual int aborted() const = 0;
};

// The one symbol of the fake that NCCL has not: extern "C" FakeNccl* SwitchyardFakeNccl().
inline constexpr char kFakeNcclEntry[] = "SwitchyardFakeNccl";
using FakeNcclEntry = FakeNccl*();

}  // namespace switchyard::kernels
