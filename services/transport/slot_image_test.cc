#include "services/transport/slot_image.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <new>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "services/transport/aligned_bytes.h"

namespace {

size_t largest_allocation = 0;

void* Counted(size_t bytes) {
  largest_allocation = std::max(largest_allocation, bytes);
  void* const memory = std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(size_t bytes) { return Counted(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace switchyard::transport {
namespace {

constexpr SlotLayout kLayout{.rows = 4, .row_bytes = 64, .metadata_bytes = 48, .slots = 2};
constexpr ArrivalRules kRules{
    .layout = kLayout, .sender = 7, .sender_incarnation = 70, .checksum = true};
constexpr uint32_t kHuge = std::numeric_limits<uint32_t>::max();
// More than any message of an error takes, less than any length that a hostile header names.
constexpr size_t kErrorBytes = 4096;

FrameHeader GoodHeader() {
  return {.sender = 7,
          .sender_incarnation = 70,
          .slot = 1,
          .rows = 3,
          .row_bytes = 64,
          .metadata_bytes = 36};
}

class SlotImageTest : public testing::Test {
 protected:
  SlotImageTest() {
    for (size_t i = 0; i < SlotBytes(kLayout); ++i) image_[i] = static_cast<std::byte>(i * 7);
    header_ = GoodHeader();
    EXPECT_TRUE(FinishImage(kLayout, header_, /*checksum=*/true, image_.get()).ok());
  }

  std::byte* body() const { return image_.get() + kHeaderBytes; }

  // What a receiver of `bytes` bytes of the image says.
  absl::Status Receive(size_t bytes) const {
    const size_t header_bytes = std::min(bytes, kHeaderBytes);
    const auto header = CheckArrival(kRules, {image_.get(), header_bytes}, bytes - header_bytes);
    return header.ok() ? CheckBody(kRules, *header, {body(), BodyBytes(*header)}) : header.status();
  }
  size_t Bytes() const { return kHeaderBytes + BodyBytes(header_); }

  // A header that a hostile peer made, its checksum right, is refused: at once, by name.
  static void ExpectRefused(const std::function<void(FrameHeader&)>& spoil,
                            const std::string& text) {
    FrameHeader header = GoodHeader();
    spoil(header);
    std::array<std::byte, kHeaderBytes> bytes;
    EncodeHeader(header, bytes);
    largest_allocation = 0;
    const auto checked = CheckArrival(kRules, bytes, std::nullopt);
    EXPECT_LT(largest_allocation, kErrorBytes) << text;
    ASSERT_FALSE(checked.ok()) << text;
    EXPECT_NE(checked.status().message().find(text), std::string::npos)
        << checked.status() << "\nwanted " << text;
  }

  const AlignedBytes image_ = AllocateAligned(SlotBytes(kLayout));
  FrameHeader header_;
};

TEST_F(SlotImageTest, AGoodImageIsTaken) { EXPECT_TRUE(Receive(Bytes()).ok()); }

TEST_F(SlotImageTest, EveryFlippedBitIsRejected) {
  for (size_t bit = 0; bit < 8 * Bytes(); ++bit) {
    const std::byte mask = std::byte{1} << (bit % 8);
    image_[bit / 8] ^= mask;
    EXPECT_FALSE(Receive(Bytes()).ok()) << "bit " << bit;
    image_[bit / 8] ^= mask;
  }
  body()[5] ^= std::byte{1};
  EXPECT_EQ(Receive(Bytes()).message(), "frame whose payload checksum does not match");
}

TEST_F(SlotImageTest, EveryTruncationIsRejected) {
  for (size_t bytes = 0; bytes < Bytes(); ++bytes) {
    EXPECT_FALSE(Receive(bytes).ok()) << bytes;
  }
  const absl::Status cut = Receive(Bytes() - 1);
  EXPECT_EQ(cut.message(), "frame with 227 bytes after the header, which names 228");
}

TEST_F(SlotImageTest, CountsAndLengthsBeyondTheSlotAreRejectedBeforeAnyAllocation) {
  ExpectRefused([](FrameHeader& h) { h.rows = 5; }, "frame of 5 rows");
  ExpectRefused([](FrameHeader& h) { h.rows = kHuge; }, "frame of 4294967295 rows");
  ExpectRefused([](FrameHeader& h) { h.row_bytes = 65; }, "rows of 65 bytes");
  ExpectRefused([](FrameHeader& h) { h.metadata_bytes = 49; }, "49 bytes of metadata");
  ExpectRefused([](FrameHeader& h) { h.rows = h.row_bytes = h.metadata_bytes = kHuge; },
                "its slot holds 4 of 64 and 48");
  ExpectRefused([](FrameHeader& h) { h.slot = 2; }, "frame in slot 2 of 2");
}

TEST_F(SlotImageTest, FramesOfAnotherLifeOrMemberAreRejected) {
  ExpectRefused([](FrameHeader& h) { h.sender_incarnation = 69; },
                "frame from member 7 incarnation 69 on the channel of member 7 incarnation 70");
  ExpectRefused([](FrameHeader& h) { h.sender = 8; }, "frame from member 8");
}

TEST_F(SlotImageTest, CountsAboveTheLayoutLeaveTheSlotAsItWas) {
  const std::string before(reinterpret_cast<const char*>(image_.get()), SlotBytes(kLayout));
  for (FrameHeader header : {FrameHeader{.rows = 5, .row_bytes = 64},
                             FrameHeader{.metadata_bytes = kLayout.metadata_bytes + 1}}) {
    EXPECT_FALSE(FinishImage(kLayout, header, true, image_.get()).ok());
  }
  EXPECT_EQ(std::memcmp(before.data(), image_.get(), before.size()), 0);
}

TEST_F(SlotImageTest, ImpossibleLayoutsAreRefused) {
  for (const SlotLayout& layout :
       {SlotLayout{.rows = 1, .row_bytes = 1, .slots = 0},
        SlotLayout{.rows = 1, .row_bytes = 1, .slots = kMaxSlots + 1}, SlotLayout{.slots = 1},
        SlotLayout{.rows = kHuge, .row_bytes = kHuge, .metadata_bytes = kHuge, .slots = 1},
        SlotLayout{.rows = 1, .row_bytes = 1, .metadata_bytes = kHuge, .slots = 1}}) {
    const absl::Status status = CheckLayout(layout);
    EXPECT_NE(status.message().find("slot layout: "), std::string::npos) << status;
  }
}

}  // namespace
}  // namespace switchyard::transport
