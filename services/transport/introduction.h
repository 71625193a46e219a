#pragma once

// What two transports tell each other when a channel opens, over the liveness connection
// (docs/transport.md). It comes from an untrusted peer: DecodeIntroduction bounds every length.

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/transport/transport.h"

namespace switchyard::transport {

inline constexpr size_t kMaxIntroductionBytes = 16 * 1024;

struct Introduction {
  uint64_t member = 0;  // who speaks
  uint64_t incarnation = 0;
  uint64_t peer_member = 0;  // to whom
  uint64_t peer_incarnation = 0;
  uint64_t nonce = 0;
  SlotLayout layout;
  uint64_t channel_id = 0;      // what the peer's frames must name
  bool checksum = false;        // wants payload checksums on every lane
  bool split = false;           // wants payloads in messages of their own, and maps no slots
  uint64_t region_address = 0;  // of the slots, in the speaker's address space
  std::string region_key;       // opaque: maps the slots into the peer; empty where none is offered
  std::string worker_address;   // opaque: reaches the speaker's UCX worker
  std::string wake_address;     // abstract name of a datagram socket that wakes the speaker

  bool operator==(const Introduction&) const = default;
};

std::string EncodeIntroduction(const Introduction& introduction);

// Refuses another magic or version and anything that is not exactly an introduction.
absl::StatusOr<Introduction> DecodeIntroduction(std::string_view bytes);

// Whether `theirs` answers `mine`: each names the other, with one nonce and one layout.
absl::Status CheckAnswer(const Introduction& mine, const Introduction& theirs);

}  // namespace switchyard::transport
