#pragma once

// Keepalive of control connections, the same on both sides: a server refuses clients that ping more
// often than it was told to expect.

namespace switchyard::runtime {

inline constexpr int kKeepaliveTimeMs = 10'000;
inline constexpr int kKeepaliveTimeoutMs = 5'000;

}  // namespace switchyard::runtime
