// Links over the fake NCCL: no device.

#include "kernels/cuda/nccl_links.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <utility>

#include "kernels/cuda/fake_gpu_links.h"

namespace switchyard::kernels {
namespace {

constexpr size_t kBytes = 1000;

class NcclLinksTest : public ::testing::Test {
 protected:
  NcclLinksTest() : fake_(TheFakeNccl()), links_(MakeFakeGpuLinks()), live_(fake_.live()) {}
  ~NcclLinksTest() override {
    fake_.HangTransfers(false);
    fake_.HangConnections(false);
  }

  void Connect() {
    const auto id = links_->NewId();
    ASSERT_TRUE(id.ok()) << id.status();
    sender_ = Make(*id, GpuLinkEnd::kSender);
    receiver_ = Make(*id, GpuLinkEnd::kReceiver);
  }

  std::unique_ptr<GpuLink> Make(const GpuLinkId& id, GpuLinkEnd end) {
    auto link = links_->Connect(id, end);
    EXPECT_TRUE(link.ok()) << link.status();
    return *std::move(link);
  }

  std::shared_ptr<std::byte> Memory(int value) {
    auto memory = links_->Allocate(kBytes);
    EXPECT_TRUE(memory.ok()) << memory.status();
    std::memset(memory->get(), value, kBytes);
    return *std::move(memory);
  }

  // Drives both ends until `count` transfers of one have finished; how many have at the end of its
  // patience.
  uint64_t Finish(GpuLink& link, uint64_t count) {
    uint64_t finished = 0;
    for (int i = 0; i < 100 && finished < count; ++i) {
      for (GpuLink* end : {sender_.get(), receiver_.get()}) {
        const auto now = end->Finished();
        EXPECT_TRUE(now.ok()) << now.status();
        if (end == &link && now.ok()) finished = *now;
      }
    }
    return finished;
  }

  FakeNccl& fake_;
  const std::unique_ptr<GpuLinks> links_;
  const int live_;
  std::unique_ptr<GpuLink> sender_;
  std::unique_ptr<GpuLink> receiver_;
};

TEST_F(NcclLinksTest, ALinkConnectsWhenBothEndsAreThere) {
  const auto id = links_->NewId();
  ASSERT_TRUE(id.ok());
  sender_ = Make(*id, GpuLinkEnd::kSender);
  EXPECT_FALSE(sender_->Connected().value());
  receiver_ = Make(*id, GpuLinkEnd::kReceiver);
  EXPECT_TRUE(sender_->Connected().value());
  EXPECT_TRUE(receiver_->Connected().value());
}

TEST_F(NcclLinksTest, TransfersArriveInOrderWhicheverEndStartsFirst) {
  Connect();
  const auto first = Memory(1), second = Memory(2), to_first = Memory(0), to_second = Memory(0);
  EXPECT_TRUE(sender_->Start(first.get(), kBytes).ok());
  EXPECT_TRUE(receiver_->Start(to_first.get(), kBytes).ok());
  EXPECT_TRUE(receiver_->Start(to_second.get(), kBytes).ok());
  EXPECT_EQ(Finish(*sender_, 1), 1u);
  EXPECT_EQ(Finish(*receiver_, 1), 1u);
  EXPECT_EQ(Finish(*receiver_, 2), 1u);
  EXPECT_TRUE(sender_->Start(second.get(), kBytes).ok());
  EXPECT_EQ(Finish(*receiver_, 2), 2u);
  EXPECT_EQ(std::memcmp(to_first.get(), first.get(), kBytes), 0);
  EXPECT_EQ(std::memcmp(to_second.get(), second.get(), kBytes), 0);
}

TEST_F(NcclLinksTest, TransfersMayBeStartedBeforeTheLinkIsConnected) {
  const auto id = links_->NewId();
  ASSERT_TRUE(id.ok());
  const auto from = Memory(1), to = Memory(0);
  sender_ = Make(*id, GpuLinkEnd::kSender);
  EXPECT_TRUE(sender_->Start(from.get(), kBytes).ok());
  receiver_ = Make(*id, GpuLinkEnd::kReceiver);
  EXPECT_TRUE(receiver_->Start(to.get(), kBytes).ok());
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(sender_->Finished().ok());
  EXPECT_EQ(Finish(*receiver_, 1), 1u);
  EXPECT_EQ(std::memcmp(to.get(), from.get(), kBytes), 0);
}

TEST_F(NcclLinksTest, ALinkTakesNoMoreThanItsTransfers) {
  Connect();
  const auto from = Memory(1);
  for (uint32_t i = 0; i < kMaxGpuTransfers; ++i) {
    EXPECT_TRUE(sender_->Start(from.get(), kBytes).ok());
  }
  EXPECT_EQ(sender_->Start(from.get(), kBytes).code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(NcclLinksTest, EndsThatDisagreeOnASizeFail) {
  Connect();
  const auto from = Memory(1), to = Memory(0);
  EXPECT_TRUE(sender_->Start(from.get(), kBytes).ok());
  EXPECT_TRUE(receiver_->Start(to.get(), kBytes - 1).ok());
  absl::Status status;
  for (int i = 0; i < 10; ++i) {
    status.Update(sender_->Finished().status());
    status.Update(receiver_->Finished().status());
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
}

TEST_F(NcclLinksTest, AnIdleLinkTellsThatThePeerIsGone) {
  Connect();
  EXPECT_TRUE(sender_->Connected().value());
  fake_.FailAll(ncclRemoteError);
  EXPECT_EQ(sender_->Finished().status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(NcclLinksTest, AnAbortEndsTransfersThatHangAndTheOtherLinkGoesOn) {
  Connect();
  const auto hung = Memory(1);
  fake_.HangTransfers(true);
  EXPECT_TRUE(sender_->Start(hung.get(), kBytes).ok());
  for (int i = 0; i < 10; ++i) EXPECT_EQ(sender_->Finished().value(), 0u);
  std::thread([&] { sender_->Abort(); }).join();
  fake_.HangTransfers(false);
  EXPECT_EQ(fake_.live(), live_ + 1) << "the peer's communicator is its own";

  Connect();
  const auto from = Memory(3), to = Memory(0);
  EXPECT_TRUE(receiver_->Start(to.get(), kBytes).ok());
  EXPECT_TRUE(sender_->Start(from.get(), kBytes).ok());
  EXPECT_EQ(Finish(*sender_, 1), 1u);
  EXPECT_EQ(Finish(*receiver_, 1), 1u);
  sender_.reset();
  receiver_.reset();
  EXPECT_EQ(fake_.live(), live_) << "a link that is destroyed is aborted";
}

TEST_F(NcclLinksTest, ALinkThatNeverConnectsCanBeAborted) {
  fake_.HangConnections(true);
  Connect();
  EXPECT_FALSE(sender_->Connected().value());
  sender_->Abort();
  receiver_->Abort();
  EXPECT_EQ(fake_.live(), live_);
}

TEST_F(NcclLinksTest, AnIdOfNobodyIsRefused) {
  EXPECT_EQ(links_->Connect(GpuLinkId{}, GpuLinkEnd::kSender).status().code(),
            absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace switchyard::kernels
