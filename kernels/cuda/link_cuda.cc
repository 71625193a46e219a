#include "kernels/cuda/link_cuda.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_status.h"
#include "kernels/cuda/devices.h"
#include "kernels/cuda/event.h"
#include "kernels/cuda/gpu_links.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/stream.h"

namespace switchyard::kernels {
namespace {

class CudaLinkStream : public LinkStream {
 public:
  CudaLinkStream(Stream stream, std::vector<Event> events)
      : stream_(std::move(stream)), events_(std::move(events)) {}

  cudaStream_t get() const override { return stream_.get(); }
  absl::Status Record(uint64_t number) override { return EventOf(number).Record(stream_); }
  absl::StatusOr<bool> Reached(uint64_t number) override { return EventOf(number).Reached(); }
  absl::Status Synchronize() override { return stream_.Synchronize(); }

 private:
  const Event& EventOf(uint64_t number) const { return events_[number % events_.size()]; }

  Stream stream_;
  std::vector<Event> events_;
};

class OneDevice : public LinkCuda {
 public:
  explicit OneDevice(int ordinal) : ordinal_(ordinal) {}

  absl::Status MakeCurrent() override {
    return FromCuda(cudaSetDevice(ordinal_), absl::StrCat("cudaSetDevice ", ordinal_));
  }

  absl::StatusOr<std::unique_ptr<LinkStream>> MakeStream() override {
    if (const absl::Status status = MakeCurrent(); !status.ok()) return status;
    auto stream = Stream::Create();
    if (!stream.ok()) return stream.status();
    std::vector<Event> events;
    events.reserve(kMaxGpuTransfers);
    for (uint32_t i = 0; i < kMaxGpuTransfers; ++i) {
      auto event = Event::Create();
      if (!event.ok()) return event.status();
      events.push_back(*std::move(event));
    }
    return std::make_unique<CudaLinkStream>(*std::move(stream), std::move(events));
  }

  absl::StatusOr<std::shared_ptr<std::byte>> Allocate(size_t bytes) override {
    if (const absl::Status status = MakeCurrent(); !status.ok()) return status;
    auto memory = PinnedMemory::Allocate(bytes);
    if (!memory.ok()) return memory.status();
    const auto owner = std::make_shared<PinnedMemory>(*std::move(memory));
    return std::shared_ptr<std::byte>(owner, owner->As<std::byte>());
  }

 private:
  const int ordinal_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<LinkCuda>> MakeLinkCuda(int ordinal) {
  if (const absl::Status status = CheckDevice(ordinal); !status.ok()) return status;
  return std::make_shared<OneDevice>(ordinal);
}

}  // namespace switchyard::kernels
