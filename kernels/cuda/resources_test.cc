// Memory, streams, events and graphs on a device.

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <utility>

#include "kernels/cuda/cuda_status.h"
#include "kernels/cuda/event.h"
#include "kernels/cuda/graph.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/test_device.h"

namespace switchyard::kernels {
namespace {

constexpr size_t kBytes = 1000;

absl::Status Fill(const DeviceMemory& memory, int value, const Stream& stream) {
  return FromCuda(cudaMemsetAsync(memory.data(), value, memory.size(), stream.get()),
                  "cudaMemsetAsync");
}

absl::Status Copy(void* to, const void* from, size_t bytes, const Stream& stream) {
  return FromCuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream.get()),
                  "cudaMemcpyAsync");
}

TEST(MemoryTest, NothingNeedsNoDevice) {
  const auto memory = DeviceMemory::Allocate(0);
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_EQ(memory->data(), nullptr);
  EXPECT_EQ(memory->size(), 0u);
}

TEST(MemoryTest, WithoutADeviceAnErrorSaysSo) {
  if (DeviceCount().ok()) GTEST_SKIP() << "this machine has a device";
  EXPECT_EQ(DeviceMemory::Allocate(kBytes).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Stream::Create().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(CheckDevice(0).code(), absl::StatusCode::kFailedPrecondition);
}

// Each test has one stream, and pinned and device memory of kBytes.
class DeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SWITCHYARD_CUDA_OR_SKIP();
    auto stream = Stream::Create();
    ASSERT_TRUE(stream.ok()) << stream.status();
    stream_ = std::make_unique<Stream>(*std::move(stream));
    auto device = DeviceMemory::Allocate(kBytes);
    ASSERT_TRUE(device.ok()) << device.status();
    device_ = *std::move(device);
    auto pinned = PinnedMemory::Allocate(kBytes);
    ASSERT_TRUE(pinned.ok()) << pinned.status();
    pinned_ = *std::move(pinned);
    std::memset(pinned_.data(), 0, kBytes);
  }

  void ExpectPinned(int value) const {
    for (size_t i = 0; i < kBytes; ++i) {
      ASSERT_EQ(pinned_.As<unsigned char>()[i], value) << "byte " << i;
    }
  }

  std::unique_ptr<Stream> stream_;
  DeviceMemory device_;
  PinnedMemory pinned_;
};

TEST_F(DeviceTest, DeviceMemoryIsFilledAndCopiedToTheHost) {
  ASSERT_TRUE(Fill(device_, 7, *stream_).ok());
  ASSERT_TRUE(Copy(pinned_.data(), device_.data(), kBytes, *stream_).ok());
  ASSERT_TRUE(stream_->Synchronize().ok());
  ExpectPinned(7);
}

TEST_F(DeviceTest, UnifiedMemoryIsReachedByBoth) {
  const auto unified = UnifiedMemory::Allocate(kBytes);
  ASSERT_TRUE(unified.ok()) << unified.status();
  std::memset(unified->data(), 9, kBytes);
  ASSERT_TRUE(Copy(device_.data(), unified->data(), kBytes, *stream_).ok());
  ASSERT_TRUE(Copy(pinned_.data(), device_.data(), kBytes, *stream_).ok());
  ASSERT_TRUE(stream_->Synchronize().ok());
  ExpectPinned(9);
}

TEST_F(DeviceTest, MemoryMoves) {
  void* const data = device_.data();
  DeviceMemory moved = std::move(device_);
  EXPECT_EQ(moved.data(), data);
  EXPECT_EQ(moved.size(), kBytes);
  EXPECT_EQ(device_.size(), 0u);  // NOLINT(bugprone-use-after-move)
  device_ = std::move(moved);
  EXPECT_EQ(device_.data(), data);
}

TEST_F(DeviceTest, TooMuchMemoryIsResourceExhausted) {
  const auto memory = DeviceMemory::Allocate(size_t{1} << 46);
  EXPECT_EQ(memory.status().code(), absl::StatusCode::kResourceExhausted) << memory.status();
  EXPECT_TRUE(CheckLaunch("none").ok()) << "the error must not be left behind";
}

TEST_F(DeviceTest, AnOrdinalThatIsNotThereIsRefused) {
  EXPECT_EQ(CheckDevice(-1).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(CheckDevice(*DeviceCount()).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(DeviceTest, AnEventOrdersTwoStreams) {
  const auto second = Stream::Create();
  ASSERT_TRUE(second.ok()) << second.status();
  const auto filled = Event::Create();
  ASSERT_TRUE(filled.ok()) << filled.status();
  ASSERT_TRUE(Fill(device_, 3, *stream_).ok());
  ASSERT_TRUE(filled->Record(*stream_).ok());
  ASSERT_TRUE(filled->MakeWait(*second).ok());
  ASSERT_TRUE(Copy(pinned_.data(), device_.data(), kBytes, *second).ok());
  ASSERT_TRUE(second->Synchronize().ok());
  ExpectPinned(3);
  const absl::StatusOr<bool> reached = filled->Reached();
  ASSERT_TRUE(reached.ok()) << reached.status();
  EXPECT_TRUE(*reached);
  EXPECT_TRUE(filled->Synchronize().ok());
}

TEST_F(DeviceTest, AGraphRunsWhatWasCapturedEachTime) {
  const auto source = PinnedMemory::Allocate(kBytes);
  ASSERT_TRUE(source.ok()) << source.status();
  std::memset(source->data(), 1, kBytes);
  const auto graph = Graph::Capture(*stream_, [&] {
    absl::Status status = Copy(device_.data(), source->data(), kBytes, *stream_);
    if (status.ok()) status = Copy(pinned_.data(), device_.data(), kBytes, *stream_);
    return status;
  });
  ASSERT_TRUE(graph.ok()) << graph.status();
  ASSERT_TRUE(stream_->Synchronize().ok());
  ExpectPinned(0);  // captured, not run
  for (const int value : {1, 2}) {
    std::memset(source->data(), value, kBytes);
    ASSERT_TRUE(graph->Launch(*stream_).ok());
    ASSERT_TRUE(stream_->Synchronize().ok());
    ExpectPinned(value);
  }
}

TEST_F(DeviceTest, AFailedCaptureLeavesTheStreamUsable) {
  const auto graph =
      Graph::Capture(*stream_, [] { return absl::InvalidArgumentError("no such layer"); });
  EXPECT_EQ(graph.status(), absl::InvalidArgumentError("no such layer"));
  ASSERT_TRUE(Fill(device_, 5, *stream_).ok());
  ASSERT_TRUE(Copy(pinned_.data(), device_.data(), kBytes, *stream_).ok());
  ASSERT_TRUE(stream_->Synchronize().ok());
  ExpectPinned(5);
}

TEST_F(DeviceTest, SynchronisingInACaptureIsAnError) {
  const auto graph = Graph::Capture(*stream_, [&] { return stream_->Synchronize(); });
  EXPECT_EQ(graph.status().code(), absl::StatusCode::kInternal) << graph.status();
  EXPECT_TRUE(stream_->Synchronize().ok());
}

}  // namespace
}  // namespace switchyard::kernels
