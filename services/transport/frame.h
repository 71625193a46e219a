#pragma once

// The frame of the data path: a fixed little-endian header, payload rows, metadata. Specified byte
// by byte in docs/frame.md. A peer's frame is untrusted: DecodeHeader, the transport (counts
// against the slot) and CheckDispatch refuse it before anything in it is used.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/base/numerics.h"

namespace switchyard::transport {

inline constexpr uint32_t kFrameMagic = 0x44524659;  // "YFRD" read as bytes 59 46 52 44
inline constexpr uint16_t kFrameVersion = 1;
inline constexpr size_t kHeaderBytes = 128;

enum class Direction : uint8_t {
  kDispatch = 1,  // router worker -> expert host: token rows and assignments
  kCombine = 2,   // expert host -> router worker: one row per assignment, in the dispatch's order
  kRefusal = 3,   // expert host -> router worker: the dispatch was not done; `refusal` says why
};

enum class Phase : uint8_t { kDecode = 0, kPrefill = 1 };

enum class Refusal : uint8_t {
  kNone = 0,
  kNotOwned = 1,    // an expert of the frame is not loaded here
  kWrongModel = 2,  // digest, weights version or class differ
  kExpired = 3,     // no time left when it was taken up
  kMalformed = 4,   // counts, ids or lengths out of range
  kNotFinite = 5,   // an expert produced NaN or Inf
};

struct FrameHeader {
  uint64_t model_digest = 0;
  uint64_t weights_version = 0;
  kernels::NumericsClass numerics = kernels::NumericsClass::kFp32;
  Direction direction = Direction::kDispatch;
  Phase phase = Phase::kDecode;
  Refusal refusal = Refusal::kNone;
  uint64_t sender = 0;  // member id given by the coordinator
  uint64_t sender_incarnation = 0;
  // These and the part say which dispatch this is.
  uint64_t router_incarnation = 0;
  uint64_t batch = 0;
  uint32_t layer = 0;
  uint32_t micro_batch = 0;
  uint32_t attempt = 0;
  uint32_t part = 0;           // a dispatch to one host may need several frames
  uint64_t training_step = 0;  // 0 in serving
  uint64_t epoch = 0;          // placement epoch the sender acted on
  uint32_t slot = 0;           // set by the transport
  uint32_t time_left_us = 0;   // until the receiver may drop it
  uint32_t rows = 0;           // payload rows
  uint32_t row_bytes = 0;
  uint32_t metadata_bytes = 0;
  uint64_t payload_checksum = 0;  // XXH3 of payload and metadata; 0 when off. Set by the transport

  bool operator==(const FrameHeader&) const = default;
};

// Writes kHeaderBytes, checksum included.
void EncodeHeader(const FrameHeader& header, std::span<std::byte, kHeaderBytes> bytes);

// Refuses wrong magic, version, checksum, unknown enumerators and fewer than kHeaderBytes bytes.
absl::StatusOr<FrameHeader> DecodeHeader(std::span<const std::byte> bytes);

// XXH3 of what follows the header, payload and metadata; never 0, which in a header means "off".
uint64_t PayloadChecksum(std::span<const std::byte> body);

// Metadata of a dispatch: one entry per assignment, 12 bytes each.
struct Assignment {
  uint32_t row;     // payload row holding the token's activations
  uint32_t expert;  // expert id in the frame's layer
  float weight;     // gate weight
};
inline constexpr size_t kAssignmentBytes = 12;

void EncodeAssignments(std::span<const Assignment> assignments, std::span<std::byte> bytes);

// Reads assignment `index` of metadata whose size was checked by CheckDispatch.
Assignment DecodeAssignment(std::span<const std::byte> metadata, size_t index);

// Every structural rule of a dispatch frame: metadata a whole number of assignments, at least one,
// every row < header.rows, every expert < experts, weights finite, row_bytes as expected. Allocates
// nothing.
absl::Status CheckDispatch(const FrameHeader& header, std::span<const std::byte> metadata,
                           uint32_t experts, uint32_t row_bytes, uint32_t max_assignments);

}  // namespace switchyard::transport
