#pragma once

// A router worker's dispatcher and several expert hosts in one process over the loopback network:
// the whole data path without gRPC, with faults on request.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "expert_service/expert_loop.h"
#include "expert_service/expert_store.h"
#include "kernels/base/thread_pool.h"
#include "kernels/device/cpu_device.h"
#include "router_service/remote_dispatcher.h"
#include "services/runtime/placement_view.h"
#include "services/transport/loopback.h"

namespace switchyard::testing {

struct WorldShape {
  uint32_t layers = 2;
  uint32_t experts = 8;
  uint32_t top_k = 2;
  uint32_t hidden = 64;
  uint32_t intermediate = 32;
  uint32_t slot_assignments = 16;
  kernels::NumericsClass numerics = kernels::NumericsClass::kFp32;
};

// One micro-batch's layer: random activations, distinct experts per row.
struct LayerInput {
  uint32_t layer = 0;
  int64_t rows = 0;
  std::vector<std::byte> activations;
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

// Makes the transport that a role uses out of its loopback transport.
using TransportOver =
    std::function<std::unique_ptr<transport::Transport>(std::unique_ptr<transport::Transport>)>;

class DispatchWorld {
 public:
  static constexpr uint64_t kRouter = 1;
  static constexpr uint64_t kFirstHost = 100;

  // Over loopback alone, or what `over` makes of it.
  explicit DispatchWorld(const WorldShape& shape, TransportOver over = nullptr);
  ~DispatchWorld();

  // Starts host `index` under a new incarnation with every expert, or with those that
  // `index + n * stride` gives. It joins the placement at the next Publish.
  void StartHost(uint32_t index, uint32_t first_expert = 0, uint32_t stride = 1);
  // As SIGKILL: its channels are lost, its loop ends. It stays in the placement until Publish.
  void KillHost(uint32_t index);
  // A new epoch: every live host owns what it holds.
  void Publish();

  LayerInput MakeInput(uint32_t layer, int64_t rows, uint32_t seed) const;

  // Runs a layer through the dispatcher; the rows of the answer, one per assignment.
  absl::StatusOr<std::vector<std::byte>> Run(const LayerInput& input, Duration limit);

  // The same straight from the definition, without any host.
  std::vector<std::byte> Expected(const LayerInput& input) const;

  void WaitUntilReady();

  router::DispatchRequest Request(const LayerInput& input, Duration limit) const;
  router::RemoteDispatcher& dispatcher() { return *dispatcher_; }
  transport::LoopbackNetwork& network() { return network_; }
  size_t row_bytes() const;

 private:
  struct Host {
    uint64_t incarnation = 0;
    expert::ExpertStore store;
    std::vector<std::vector<uint32_t>> owned;  // [layer]
    std::unique_ptr<expert::ExpertLoop> loop;
  };

  std::unique_ptr<transport::Transport> StartTransport(uint64_t member, uint64_t incarnation);
  absl::StatusOr<transport::PeerAddress> RequestChannel(const v1::Member& host,
                                                        const transport::PeerAddress& router,
                                                        const transport::SlotLayout& layout,
                                                        uint64_t nonce);

  const WorldShape shape_;
  const TransportOver over_;
  kernels::ThreadPool pool_{2};
  kernels::CpuDevice device_{pool_};
  transport::LoopbackNetwork network_;
  expert::Experts experts_;
  std::mutex mutex_;  // the dispatcher asks for channels from a thread of its own
  std::map<uint32_t, std::unique_ptr<Host>> hosts_;
  uint64_t next_incarnation_ = 1;
  uint64_t epoch_ = 0;
  std::unique_ptr<router::RemoteDispatcher> dispatcher_;
};

}  // namespace switchyard::testing
