#pragma once

// What ucx_test and its other process agree on.

#include <cstdint>

#include "kernels/base/memory.h"
#include "services/transport/transport.h"
#include "services/transport/ucx_options.h"

namespace switchyard::transport {

inline constexpr uint64_t kTesterMember = 1;
inline constexpr uint64_t kTesterIncarnation = 11;
inline constexpr uint64_t kPeerMember = 2;
inline constexpr SlotLayout kPeerLayout{
    .rows = 16, .row_bytes = 1024, .metadata_bytes = 192, .slots = 8};
inline constexpr int kPeerLostExit = 7;

enum class UcxTestMode {
  kSharedMemory,
  kTcp,
  kAuto,
  kEagerPayloads,    // frames split; memory of the host stands for a device's
  kFetchedPayloads,  // the same by rendezvous, whatever their size
};

inline UcxOptions OptionsOf(UcxTestMode mode) {
  constexpr UcxPayloadMemory kHostMemory = {
      .source = {.allocate = kernels::AllocateMemory, .release = kernels::ReleaseMemory}};
  switch (mode) {
    case UcxTestMode::kSharedMemory:
      return {.lanes = UcxLanes::kSharedMemory};
    case UcxTestMode::kTcp:
      return {.lanes = UcxLanes::kTcp};
    case UcxTestMode::kAuto:
      return {};
    case UcxTestMode::kEagerPayloads:
      return {.payload_memory = kHostMemory, .rendezvous_from = SIZE_MAX};
    case UcxTestMode::kFetchedPayloads:
      return {.payload_memory = kHostMemory, .rendezvous_from = 1};
  }
  return {};
}

}  // namespace switchyard::transport
