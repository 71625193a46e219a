#pragma once

// What ucx_test and its other process agree on.

#include <cstdint>

#include "services/transport/transport.h"

namespace switchyard::transport {

inline constexpr uint64_t kTesterMember = 1;
inline constexpr uint64_t kTesterIncarnation = 11;
inline constexpr uint64_t kPeerMember = 2;
inline constexpr SlotLayout kPeerLayout{
    .rows = 16, .row_bytes = 1024, .metadata_bytes = 192, .slots = 8};
inline constexpr int kPeerLostExit = 7;

}  // namespace switchyard::transport
