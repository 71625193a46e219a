#include "kernels/cuda/fake_gpu_links.h"

#include <dlfcn.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <thread>

#include "kernels/cuda/link_cuda.h"
#include "kernels/cuda/nccl_library.h"
#include "kernels/cuda/nccl_links.h"

namespace switchyard::kernels {
namespace {

constexpr char kFake[] = "kernels/cuda/fake_nccl.so";
constexpr std::align_val_t kAlignment{256};

class FakeLinkStream : public LinkStream {
 public:
  cudaStream_t get() const override { return reinterpret_cast<cudaStream_t>(&stream_); }
  absl::Status Record(uint64_t number) override {
    ends_[number % kMaxGpuTransfers] = stream_.started;
    return absl::OkStatus();
  }
  absl::StatusOr<bool> Reached(uint64_t number) override {
    return stream_.finished >= ends_[number % kMaxGpuTransfers];
  }
  absl::Status Synchronize() override {
    while (stream_.finished < stream_.started) std::this_thread::yield();
    return absl::OkStatus();
  }

 private:
  mutable FakeStream stream_;
  std::array<uint64_t, kMaxGpuTransfers> ends_ = {};
};

class FakeLinkCuda : public LinkCuda {
 public:
  absl::Status MakeCurrent() override { return absl::OkStatus(); }
  absl::StatusOr<std::unique_ptr<LinkStream>> MakeStream() override {
    return std::make_unique<FakeLinkStream>();
  }
  absl::StatusOr<std::shared_ptr<std::byte>> Allocate(size_t bytes) override {
    return std::shared_ptr<std::byte>(static_cast<std::byte*>(::operator new(bytes, kAlignment)),
                                      [](std::byte* data) { ::operator delete(data, kAlignment); });
  }
};

}  // namespace

std::unique_ptr<GpuLinks> MakeFakeGpuLinks() {
  const auto nccl = LoadNccl(kFake);
  if (!nccl.ok()) {
    std::fprintf(stderr, "%s\n", nccl.status().ToString().c_str());
    std::abort();
  }
  return MakeNcclLinks(*nccl, std::make_shared<FakeLinkCuda>());
}

FakeNccl& TheFakeNccl() {
  static FakeNccl* const fake = [] {
    void* const library = dlopen(kFake, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) std::abort();
    return reinterpret_cast<FakeNcclEntry*>(dlsym(library, kFakeNcclEntry))();
  }();
  return *fake;
}

}  // namespace switchyard::kernels
