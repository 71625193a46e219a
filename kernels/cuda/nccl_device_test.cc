// NCCL itself on a GPU. NCCL refuses two ranks on one device, so with one there is only a rank that
// exchanges with itself, and the refusal.

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <thread>

#include "kernels/cuda/link_cuda.h"
#include "kernels/cuda/nccl_library.h"
#include "kernels/cuda/nccl_links.h"
#include "kernels/cuda/nccl_status.h"
#include "kernels/cuda/test_device.h"

namespace switchyard::kernels {
namespace {

constexpr size_t kBytes = size_t{1} << 20;

bool Until(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  return true;
}

// Links make no groups, so these are not in the table.
template <typename Function>
Function* InLoadedNccl(const char* name) {
  void* const library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_NOLOAD);
  return library == nullptr ? nullptr : reinterpret_cast<Function*>(dlsym(library, name));
}

class NcclDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SWITCHYARD_CUDA_OR_SKIP();
    auto cuda = MakeLinkCuda(0);
    ASSERT_TRUE(cuda.ok()) << cuda.status();
    cuda_ = *std::move(cuda);
    const auto nccl = LoadNccl();
    ASSERT_TRUE(nccl.ok()) << nccl.status();
    nccl_ = *nccl;
  }

  ncclResult_t State(ncclComm_t communicator) const {
    ncclResult_t state = ncclSuccess;
    EXPECT_EQ(nccl_.comm_get_async_error(communicator, &state), ncclSuccess);
    return state;
  }

  std::shared_ptr<LinkCuda> cuda_;
  NcclLibrary nccl_;
};

TEST_F(NcclDeviceTest, ARankSendsToItselfThroughMemoryOfLinks) {
  const auto start_group = InLoadedNccl<ncclResult_t()>("ncclGroupStart");
  const auto end_group = InLoadedNccl<ncclResult_t()>("ncclGroupEnd");
  ASSERT_TRUE(start_group != nullptr && end_group != nullptr);
  ASSERT_TRUE(cuda_->MakeCurrent().ok());
  const auto stream = cuda_->MakeStream().value();
  const auto from = cuda_->Allocate(kBytes).value(), to = cuda_->Allocate(kBytes).value();
  for (size_t i = 0; i < kBytes; ++i) from.get()[i] = static_cast<std::byte>(i * 31 >> 3);
  std::memset(to.get(), 0, kBytes);

  ncclUniqueId id;
  ASSERT_EQ(nccl_.get_unique_id(&id), ncclSuccess);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t communicator = nullptr;
  const ncclResult_t made = nccl_.comm_init_rank_config(&communicator, 1, id, 0, &config);
  ASSERT_TRUE(made == ncclSuccess || made == ncclInProgress) << FromNccl(made, "init");
  ASSERT_TRUE(Until([&] { return State(communicator) != ncclInProgress; }));
  ASSERT_EQ(State(communicator), ncclSuccess);

  ASSERT_EQ(start_group(), ncclSuccess);
  EXPECT_EQ(nccl_.send(from.get(), kBytes, ncclUint8, 0, communicator, stream->get()), ncclSuccess);
  EXPECT_EQ(nccl_.recv(to.get(), kBytes, ncclUint8, 0, communicator, stream->get()), ncclSuccess);
  const ncclResult_t ended = end_group();
  EXPECT_TRUE(ended == ncclSuccess || ended == ncclInProgress) << FromNccl(ended, "ncclGroupEnd");
  ASSERT_TRUE(Until([&] { return State(communicator) != ncclInProgress; }));
  ASSERT_EQ(State(communicator), ncclSuccess);
  ASSERT_TRUE(stream->Record(0).ok());
  EXPECT_TRUE(Until([&] { return stream->Reached(0).value(); }));
  EXPECT_EQ(std::memcmp(from.get(), to.get(), kBytes), 0);
  nccl_.comm_abort(communicator);
}

TEST_F(NcclDeviceTest, ALinkWithBothEndsOnOneDeviceIsRefusedAndCanBeAborted) {
  const auto links = MakeNcclLinks(nccl_, cuda_);
  const auto id = links->NewId();
  ASSERT_TRUE(id.ok()) << id.status();
  const auto sender = links->Connect(*id, GpuLinkEnd::kSender);
  ASSERT_TRUE(sender.ok()) << sender.status();
  const auto receiver = links->Connect(*id, GpuLinkEnd::kReceiver);
  ASSERT_TRUE(receiver.ok()) << receiver.status();
  absl::Status refused;
  EXPECT_TRUE(Until([&] {
    refused.Update((*sender)->Connected().status());
    refused.Update((*receiver)->Connected().status());
    return !refused.ok();
  }));
  EXPECT_EQ(refused.code(), absl::StatusCode::kInternal) << refused;
  std::thread other([&] { (*receiver)->Abort(); });
  (*sender)->Abort();
  other.join();
}

}  // namespace
}  // namespace switchyard::kernels
