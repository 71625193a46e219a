#pragma once

// One-way links between the GPUs of two processes: what one end sends, the other receives, in
// order. Needs no CUDA header; nccl_links.h implements it. Each end tells the other, by other ways
// than the link, the link's id and the size of every transfer.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace switchyard::kernels {

// Names a link before it exists: made at one end and handed to the other. Opaque.
inline constexpr size_t kGpuLinkIdBytes = 128;
using GpuLinkId = std::array<std::byte, kGpuLinkIdBytes>;

enum class GpuLinkEnd { kSender, kReceiver };

// Most transfers of one link that have started and not finished.
inline constexpr uint32_t kMaxGpuTransfers = 64;

// Used by one thread at a time. No call but Abort and the destructor waits for the peer. An error
// is final: the link can only be aborted.
class GpuLink {
 public:
  virtual ~GpuLink() = default;  // aborts it, unless that was done

  // Whether both ends are there.
  virtual absl::StatusOr<bool> Connected() = 0;

  // Sends or receives `bytes` > 0 bytes when the transfers before it are done; may be called before
  // the link is connected. Both ends start the same sizes in the same order. `data` is memory of
  // GpuLinks::Allocate that stays, and that nobody else touches, until the transfer has finished.
  virtual absl::Status Start(void* data, size_t bytes) = 0;

  // How many transfers have finished since the link was made. Must be called again and again while
  // some have not: it also moves them on.
  virtual absl::StatusOr<uint64_t> Finished() = 0;

  // Ends whatever is under way; memory of transfers may go when it returns. The last call. May wait
  // long for the device, and may wait for the aborts of other links to the same dead peer: give
  // each a thread of its own.
  virtual void Abort() = 0;
};

// Makes links of one GPU. Thread-safe. Links and memory may outlive it.
class GpuLinks {
 public:
  virtual ~GpuLinks() = default;

  virtual absl::StatusOr<GpuLinkId> NewId() = 0;

  // Returns at once; Connected says when the peer has done the same with the other end.
  virtual absl::StatusOr<std::unique_ptr<GpuLink>> Connect(const GpuLinkId& id, GpuLinkEnd end) = 0;

  // Memory that both the host and the GPU reach, aligned to 256 bytes. Giving it back may wait for
  // work of the device.
  virtual absl::StatusOr<std::shared_ptr<std::byte>> Allocate(size_t bytes) = 0;
};

}  // namespace switchyard::kernels
