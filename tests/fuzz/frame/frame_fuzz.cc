// Bytes as a peer could send them: a frame (header, body) and an introduction. Nothing may crash,
// and what is accepted must be within the slot and survive encoding.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "services/base/check.h"
#include "services/transport/frame.h"
#include "services/transport/introduction.h"
#include "services/transport/slot_image.h"

namespace switchyard::transport {
namespace {

constexpr SlotLayout kLayout{.rows = 16, .row_bytes = 64, .metadata_bytes = 192, .slots = 4};
constexpr uint32_t kExperts = 8;

void TryFrame(std::span<const std::byte> bytes) {
  const auto header_bytes = bytes.first(std::min(bytes.size(), kHeaderBytes));
  const auto body = bytes.subspan(header_bytes.size());
  const auto decoded = DecodeHeader(header_bytes);
  if (!decoded.ok()) return;
  std::array<std::byte, kHeaderBytes> encoded;
  EncodeHeader(*decoded, encoded);
  CHECK(std::equal(encoded.begin(), encoded.end(), header_bytes.begin())) << "not the same bytes";

  ArrivalRules rules{.layout = kLayout,
                     .sender = decoded->sender,
                     .sender_incarnation = decoded->sender_incarnation};
  const auto header = CheckArrival(rules, header_bytes, body.size());
  if (!header.ok()) return;
  CHECK(BodyBytes(*header) == body.size() && body.size() <= SlotBytes(kLayout)) << "over the slot";
  rules.checksum = true;
  CheckBody(rules, *header, body).IgnoreError();
  const auto metadata = ReceivedMetadata(body.data(), *header);
  if (!CheckDispatch(*header, metadata, kExperts, kLayout.row_bytes, 16).ok()) return;
  for (size_t i = 0; i < metadata.size() / kAssignmentBytes; ++i) {
    const Assignment assignment = DecodeAssignment(metadata, i);
    CHECK(assignment.row < header->rows && assignment.expert < kExperts) << "assignment " << i;
  }
}

// Mutations hardly ever hit a checksum: put the right ones in, as a hostile peer would.
void TryForgedFrame(std::span<const std::byte> bytes) {
  if (bytes.size() < kHeaderBytes) return;
  std::vector<std::byte> forged(bytes.begin(), bytes.end());
  FrameHeader header;
  header.rows = static_cast<uint32_t>(forged[0]) % 20;
  header.row_bytes = static_cast<uint32_t>(forged[1]) % 70;
  header.metadata_bytes = static_cast<uint32_t>(forged[2]);
  header.slot = static_cast<uint32_t>(forged[3]) % 6;
  std::memcpy(&header.sender, &forged[4], sizeof(header.sender));
  EncodeHeader(header, std::span<std::byte, kHeaderBytes>(forged.data(), kHeaderBytes));
  TryFrame(forged);
}

void TryIntroduction(std::string_view bytes) {
  const auto introduction = DecodeIntroduction(bytes);
  if (introduction.ok()) CHECK(EncodeIntroduction(*introduction) == bytes) << "not the same bytes";
}

}  // namespace
}  // namespace switchyard::transport

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  switchyard::transport::TryFrame(bytes);
  switchyard::transport::TryForgedFrame(bytes);
  switchyard::transport::TryIntroduction({reinterpret_cast<const char*>(data), size});
  return 0;
}
