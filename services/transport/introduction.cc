#include "services/transport/introduction.h"

#include <concepts>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/transport/little_endian.h"

namespace switchyard::transport {
namespace {

constexpr uint32_t kMagic = 0x43445953;  // "SYDC" read as bytes
constexpr uint32_t kVersion = 2;

template <std::unsigned_integral T>
void Put(std::string& out, T value) {
  std::byte bytes[sizeof(T)];
  StoreLittleEndian(bytes, value);
  out.append(reinterpret_cast<const char*>(bytes), sizeof(T));
}

void PutText(std::string& out, std::string_view text) {
  Put(out, static_cast<uint32_t>(text.size()));
  out.append(text);
}

// Reads from the front of `bytes`; `ok` turns and stays false when they run out.
struct Reader {
  std::string_view bytes;
  bool ok = true;

  template <std::unsigned_integral T>
  void Take(T& value) {
    if (bytes.size() < sizeof(T)) ok = false;
    if (!ok) return;
    value = LoadLittleEndian<T>(reinterpret_cast<const std::byte*>(bytes.data()));
    bytes.remove_prefix(sizeof(T));
  }

  void TakeText(std::string& text) {
    uint32_t size = 0;
    Take(size);
    if (bytes.size() < size) ok = false;
    if (!ok) return;
    text.assign(bytes.substr(0, size));
    bytes.remove_prefix(size);
  }
};

}  // namespace

std::string EncodeIntroduction(const Introduction& introduction) {
  std::string out;
  Put(out, kMagic);
  Put(out, kVersion);
  for (uint64_t value : {introduction.member, introduction.incarnation, introduction.peer_member,
                         introduction.peer_incarnation, introduction.nonce, introduction.channel_id,
                         introduction.region_address}) {
    Put(out, value);
  }
  for (uint32_t value :
       {introduction.layout.rows, introduction.layout.row_bytes, introduction.layout.metadata_bytes,
        introduction.layout.slots, uint32_t{introduction.checksum}, uint32_t{introduction.split}}) {
    Put(out, value);
  }
  PutText(out, introduction.region_key);
  PutText(out, introduction.worker_address);
  PutText(out, introduction.wake_address);
  return out;
}

absl::StatusOr<Introduction> DecodeIntroduction(std::string_view bytes) {
  if (bytes.size() > kMaxIntroductionBytes) {
    return absl::InvalidArgumentError(absl::StrCat("introduction of ", bytes.size(), " bytes"));
  }
  Reader reader{bytes};
  uint32_t magic = 0, version = 0, checksum = 0, split = 0;
  reader.Take(magic);
  reader.Take(version);
  if (!reader.ok || magic != kMagic) {
    return absl::InvalidArgumentError("not the introduction of a Switchyard transport");
  }
  if (version != kVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the peer opens channels by version ", version, ", this program by version ", kVersion));
  }
  Introduction introduction;
  for (uint64_t* value :
       {&introduction.member, &introduction.incarnation, &introduction.peer_member,
        &introduction.peer_incarnation, &introduction.nonce, &introduction.channel_id,
        &introduction.region_address}) {
    reader.Take(*value);
  }
  for (uint32_t* value :
       {&introduction.layout.rows, &introduction.layout.row_bytes,
        &introduction.layout.metadata_bytes, &introduction.layout.slots, &checksum, &split}) {
    reader.Take(*value);
  }
  introduction.checksum = checksum == 1;
  introduction.split = split == 1;
  reader.TakeText(introduction.region_key);
  reader.TakeText(introduction.worker_address);
  reader.TakeText(introduction.wake_address);
  if (!reader.ok || !reader.bytes.empty() || checksum > 1 || split > 1) {
    return absl::InvalidArgumentError("introduction that is cut short, too long or malformed");
  }
  return introduction;
}

absl::Status CheckAnswer(const Introduction& mine, const Introduction& theirs) {
  if (theirs.member != mine.peer_member || theirs.incarnation != mine.peer_incarnation ||
      theirs.peer_member != mine.member || theirs.peer_incarnation != mine.incarnation ||
      theirs.nonce != mine.nonce) {
    return absl::PermissionDeniedError("the peer is not the one that the channel was opened to");
  }
  if (theirs.layout != mine.layout) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the peer names another slot layout: ", theirs.layout.slots, " slots of ",
        theirs.layout.rows, " rows of ", theirs.layout.row_bytes, " bytes and ",
        theirs.layout.metadata_bytes, " bytes of metadata, here ", mine.layout.slots, " of ",
        mine.layout.rows, " of ", mine.layout.row_bytes, " and ", mine.layout.metadata_bytes));
  }
  return absl::OkStatus();
}

}  // namespace switchyard::transport
