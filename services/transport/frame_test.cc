#include "services/transport/frame.h"

#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <sstream>
#include <string>

#include "gtest/gtest.h"
#include "xxhash.h"

namespace switchyard::transport {
namespace {

using HeaderBytes = std::array<std::byte, kHeaderBytes>;

FrameHeader SampleHeader() {
  return {.model_digest = 0x1011121314151617,
          .weights_version = 0x2021222324252627,
          .numerics = kernels::NumericsClass::kBf16,
          .direction = Direction::kCombine,
          .phase = Phase::kPrefill,
          .refusal = Refusal::kNotFinite,
          .sender = 0x3031323334353637,
          .sender_incarnation = 0x4041424344454647,
          .router_incarnation = 0x5051525354555657,
          .batch = 0x6061626364656667,
          .layer = 0x70717273,
          .micro_batch = 0x80818283,
          .attempt = 0x90919293,
          .part = 0xA0A1A2A3,
          .training_step = 0xB0B1B2B3B4B5B6B7,
          .epoch = 0xC0C1C2C3C4C5C6C7,
          .slot = 0xD0D1D2D3,
          .time_left_us = 0xE0E1E2E3,
          .rows = 0xF0F1F2F3,
          .row_bytes = 0x01020304,
          .metadata_bytes = 0x05060708,
          .payload_checksum = 0x090A0B0C0D0E0F10};
}

HeaderBytes Encode(const FrameHeader& header) {
  HeaderBytes bytes;
  EncodeHeader(header, bytes);
  return bytes;
}

uint64_t Read(const HeaderBytes& bytes, size_t offset, size_t size) {
  uint64_t value = 0;
  for (size_t i = size; i-- > 0;) value = value << 8 | static_cast<uint64_t>(bytes[offset + i]);
  return value;
}

// Overwrites bytes and makes the header checksum right again, as a hostile peer would.
void Forge(HeaderBytes& bytes, size_t offset, std::byte value) {
  bytes[offset] = value;
  const uint64_t checksum = XXH3_64bits(bytes.data(), kHeaderBytes - 8);
  for (size_t i = 0; i < 8; ++i) {
    bytes[kHeaderBytes - 8 + i] = static_cast<std::byte>(checksum >> (8 * i));
  }
}

TEST(FrameHeaderTest, DecodesWhatItEncoded) {
  const auto decoded = DecodeHeader(Encode(SampleHeader()));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, SampleHeader());
  const auto defaults = DecodeHeader(Encode(FrameHeader{}));
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_EQ(*defaults, FrameHeader{});
}

struct Field {
  size_t offset;
  size_t bytes;
};

// The rows "| offset | bytes | name | ..." of the header table in docs/frame.md.
std::map<std::string, Field> DocumentedFields() {
  std::ifstream document("docs/frame.md");
  std::map<std::string, Field> fields;
  std::string line;
  bool in_header = false;
  while (std::getline(document, line)) {
    if (line.starts_with("## ")) in_header = line == "## Header";
    if (!in_header || !line.starts_with("| ")) continue;
    std::istringstream columns(line);
    std::string bar, name;
    Field field;
    if (columns >> bar >> field.offset >> bar >> field.bytes >> bar >> name) fields[name] = field;
  }
  return fields;
}

TEST(FrameHeaderTest, EveryFieldStandsWhereTheDocumentSays) {
  const FrameHeader h = SampleHeader();
  const HeaderBytes bytes = Encode(h);
  const std::map<std::string, uint64_t> expected = {
      {"magic", kFrameMagic},
      {"version", kFrameVersion},
      {"numerics", static_cast<uint64_t>(h.numerics)},
      {"direction", static_cast<uint64_t>(h.direction)},
      {"phase", static_cast<uint64_t>(h.phase)},
      {"refusal", static_cast<uint64_t>(h.refusal)},
      {"reserved", 0},
      {"layer", h.layer},
      {"model_digest", h.model_digest},
      {"weights_version", h.weights_version},
      {"sender", h.sender},
      {"sender_incarnation", h.sender_incarnation},
      {"router_incarnation", h.router_incarnation},
      {"batch", h.batch},
      {"training_step", h.training_step},
      {"epoch", h.epoch},
      {"micro_batch", h.micro_batch},
      {"attempt", h.attempt},
      {"part", h.part},
      {"slot", h.slot},
      {"time_left_us", h.time_left_us},
      {"rows", h.rows},
      {"row_bytes", h.row_bytes},
      {"metadata_bytes", h.metadata_bytes},
      {"payload_checksum", h.payload_checksum},
      {"header_checksum", XXH3_64bits(bytes.data(), kHeaderBytes - 8)},
  };
  const std::map<std::string, Field> documented = DocumentedFields();
  ASSERT_EQ(documented.size(), expected.size());
  size_t covered = 0;
  for (const auto& [name, field] : documented) {
    ASSERT_TRUE(expected.contains(name)) << name;
    EXPECT_EQ(Read(bytes, field.offset, field.bytes), expected.at(name)) << name;
    covered += field.bytes;
  }
  EXPECT_EQ(covered, kHeaderBytes);
}

TEST(FrameHeaderTest, AnyFlippedBitIsRefused) {
  const HeaderBytes good = Encode(SampleHeader());
  for (size_t bit = 0; bit < 8 * kHeaderBytes; ++bit) {
    HeaderBytes bytes = good;
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_FALSE(DecodeHeader(bytes).ok()) << "bit " << bit;
  }
}

TEST(FrameHeaderTest, AnyTruncationIsRefused) {
  const HeaderBytes good = Encode(SampleHeader());
  for (size_t size = 0; size < kHeaderBytes; ++size) {
    EXPECT_FALSE(DecodeHeader(std::span(good).first(size)).ok()) << size;
  }
}

TEST(FrameHeaderTest, RefusesAnotherVersionUnderItsOwnCode) {
  HeaderBytes bytes = Encode(SampleHeader());
  Forge(bytes, 4, std::byte{2});
  const absl::Status status = DecodeHeader(bytes).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "frame header: version 2, this program speaks 1");
}

TEST(FrameHeaderTest, RefusesUnknownEnumeratorsAndReservedBytesUnderARightChecksum) {
  struct Case {
    size_t offset;
    uint8_t least, most;  // known values
  };
  for (const Case& c : {Case{6, 1, 4}, Case{7, 1, 3}, Case{8, 0, 1}, Case{9, 0, 5}, Case{10, 0, 0},
                        Case{11, 0, 0}}) {
    for (int value = 0; value < 256; ++value) {
      HeaderBytes bytes = Encode(SampleHeader());
      Forge(bytes, c.offset, static_cast<std::byte>(value));
      EXPECT_EQ(DecodeHeader(bytes).ok(), value >= c.least && value <= c.most)
          << "byte " << c.offset << " = " << value;
    }
  }
}

TEST(PayloadChecksumTest, IsTheHashOfTheBodyAndNeverZero) {
  std::vector<std::byte> bytes(10000);
  std::mt19937 random(1);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  for (size_t size : {size_t{1}, size_t{300}, bytes.size()}) {
    EXPECT_EQ(PayloadChecksum(std::span(bytes).first(size)), XXH3_64bits(bytes.data(), size));
  }
  EXPECT_NE(PayloadChecksum({}), 0u);
}

class CheckDispatchTest : public testing::Test {
 protected:
  CheckDispatchTest() { SetAssignments({{0, 3, 0.25f}, {1, 0, 0.75f}, {1, 7, -1.5f}}); }

  void SetAssignments(const std::vector<Assignment>& assignments) {
    metadata_.resize(assignments.size() * kAssignmentBytes);
    EncodeAssignments(assignments, metadata_);
    header_.metadata_bytes = static_cast<uint32_t>(metadata_.size());
  }

  absl::Status Check() const { return CheckDispatch(header_, metadata_, 8, 64, 4); }

  FrameHeader header_{.rows = 2, .row_bytes = 64};
  std::vector<std::byte> metadata_;
};

TEST_F(CheckDispatchTest, AcceptsAGoodFrameAndReadsItsAssignments) {
  EXPECT_TRUE(Check().ok()) << Check();
  const Assignment assignment = DecodeAssignment(metadata_, 2);
  EXPECT_EQ(assignment.row, 1u);
  EXPECT_EQ(assignment.expert, 7u);
  EXPECT_EQ(assignment.weight, -1.5f);
}

TEST_F(CheckDispatchTest, RefusesRowsAndExpertsOutOfRange) {
  SetAssignments({{2, 0, 1}});
  EXPECT_FALSE(Check().ok());
  SetAssignments({{0, 8, 1}});
  EXPECT_FALSE(Check().ok());
  SetAssignments({{std::numeric_limits<uint32_t>::max(), 0, 1}});
  EXPECT_FALSE(Check().ok());
}

TEST_F(CheckDispatchTest, RefusesWeightsThatAreNotFinite) {
  SetAssignments({{0, 0, std::numeric_limits<float>::quiet_NaN()}});
  EXPECT_FALSE(Check().ok());
  SetAssignments({{0, 0, -std::numeric_limits<float>::infinity()}});
  EXPECT_FALSE(Check().ok());
}

TEST_F(CheckDispatchTest, RefusesCountsThatDoNotFit) {
  SetAssignments({});
  EXPECT_FALSE(Check().ok());
  SetAssignments(std::vector<Assignment>(5, {0, 0, 1}));
  EXPECT_FALSE(Check().ok());
  SetAssignments({{0, 0, 1}});
  metadata_.resize(metadata_.size() + 1);
  header_.metadata_bytes += 1;
  EXPECT_FALSE(Check().ok());
  SetAssignments({{0, 0, 1}});
  header_.metadata_bytes += kAssignmentBytes;  // more than there is
  EXPECT_FALSE(Check().ok());
}

TEST_F(CheckDispatchTest, SaysWhichAssignmentIsBad) {
  SetAssignments({{0, 3, 1}, {1, 8, 1}});
  EXPECT_EQ(Check().message(),
            "dispatch frame: assignment 1 names row 1 of 2, expert 8 of 8, weight 1");
  SetAssignments({{0, std::numeric_limits<uint32_t>::max(), 1}});
  EXPECT_EQ(Check().message(),
            "dispatch frame: assignment 0 names row 0 of 2, expert 4294967295 of 8, weight 1");
  SetAssignments(std::vector<Assignment>(5, {0, 0, 1}));
  EXPECT_EQ(Check().message(), "dispatch frame: 5 assignments, allowed 1 to 4");
  SetAssignments({{0, 0, 1}});
  header_.metadata_bytes = 24;
  EXPECT_EQ(Check().message(),
            "dispatch frame: 12 bytes of metadata (header says 24) are no whole number of "
            "assignments");
}

TEST_F(CheckDispatchTest, RefusesAnotherRowSizeOrDirection) {
  header_.row_bytes = 32;
  EXPECT_FALSE(Check().ok());
  header_.row_bytes = 64;
  header_.direction = Direction::kCombine;
  EXPECT_FALSE(Check().ok());
}

}  // namespace
}  // namespace switchyard::transport
