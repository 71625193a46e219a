#include "kernels/cuda/fake_nccl.h"

#include <array>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>

namespace {

using switchyard::kernels::FakeStream;

struct Transfer {
  void* data;
  size_t bytes;
  FakeStream* stream;
};

struct Pair;

}  // namespace

struct ncclComm {
  Pair* pair = nullptr;
  int rank = 0;
  bool hangs = false;  // never connects
  ncclResult_t failure = ncclSuccess;
  int calls_to_launch = 2;  // of the first transfer
  std::optional<Transfer> launching;
  std::deque<Transfer> running;
};

namespace {

// The two communicators of one id.
struct Pair {
  std::array<ncclComm_t, 2> ranks = {};
  bool connected = false;
};

class Fake : public switchyard::kernels::FakeNccl {
 public:
  void HangTransfers(bool hang) override {
    const std::lock_guard lock(mutex_);
    hang_transfers_ = hang;
  }
  void HangConnections(bool hang) override {
    const std::lock_guard lock(mutex_);
    hang_connections_ = hang;
  }
  void FailAll(ncclResult_t result) override {
    const std::lock_guard lock(mutex_);
    for (ncclComm_t communicator : live_) communicator->failure = result;
  }
  void HoldAborts(bool hold) override {
    const std::lock_guard lock(mutex_);
    hold_aborts_ = hold;
    aborts_released_.notify_all();
  }
  int live() const override {
    const std::lock_guard lock(mutex_);
    return static_cast<int>(live_.size());
  }
  int aborted() const override {
    const std::lock_guard lock(mutex_);
    return aborted_;
  }

  void NewId(ncclUniqueId* id) {
    const std::lock_guard lock(mutex_);
    ++ids_;
    std::memset(id, 0, sizeof(*id));
    std::memcpy(id->internal, &ids_, sizeof(ids_));
  }

  ncclResult_t Init(ncclComm_t* made, int ranks, const ncclUniqueId& id, int rank,
                    const ncclConfig_t& config) {
    if (ranks != 2 || rank < 0 || rank > 1 || config.blocking != 0) return ncclInvalidArgument;
    const std::lock_guard lock(mutex_);
    uint64_t number = 0;
    std::memcpy(&number, id.internal, sizeof(number));
    Pair& pair = pairs_[number];
    if (number == 0 || number > ids_ || pair.ranks[rank] != nullptr) return ncclInvalidUsage;
    *made = pair.ranks[rank] =
        new ncclComm{.pair = &pair, .rank = rank, .hangs = hang_connections_};
    live_.insert(*made);
    const ncclComm_t peer = pair.ranks[1 - rank];
    pair.connected = peer != nullptr && !peer->hangs && !(*made)->hangs;
    return ncclInProgress;
  }

  ncclResult_t State(ncclComm_t communicator, ncclResult_t* state) {
    const std::lock_guard lock(mutex_);
    if (communicator->launching && --communicator->calls_to_launch <= 0) {
      Launch(*communicator, *communicator->launching);
      communicator->launching.reset();
    }
    const bool busy = !communicator->pair->connected || communicator->launching;
    *state = communicator->failure != ncclSuccess ? communicator->failure
             : busy                               ? ncclInProgress
                                                  : ncclSuccess;
    return ncclSuccess;
  }

  ncclResult_t Start(ncclComm_t communicator, int sender, const Transfer& transfer) {
    const std::lock_guard lock(mutex_);
    if (communicator->failure != ncclSuccess) return communicator->failure;
    if (!communicator->pair->connected || communicator->launching || communicator->rank != sender) {
      return ncclInvalidUsage;
    }
    if (communicator->calls_to_launch > 0) {
      communicator->launching = transfer;
      return ncclInProgress;
    }
    Launch(*communicator, transfer);
    return ncclSuccess;
  }

  ncclResult_t Abort(ncclComm_t communicator) {
    std::unique_lock lock(mutex_);
    ++aborted_;
    aborts_released_.wait(lock, [this] { return !hold_aborts_; });
    communicator->pair->ranks[communicator->rank] = nullptr;
    for (const Transfer& transfer : communicator->running) ++transfer.stream->finished;
    live_.erase(communicator);
    delete communicator;
    return ncclSuccess;
  }

 private:
  void Launch(ncclComm& communicator, const Transfer& transfer) {
    ++transfer.stream->started;
    communicator.running.push_back(transfer);
    Match(*communicator.pair);
  }

  void Match(Pair& pair) {
    if (hang_transfers_ || pair.ranks[0] == nullptr || pair.ranks[1] == nullptr) return;
    auto& sends = pair.ranks[0]->running;
    auto& receives = pair.ranks[1]->running;
    while (!sends.empty() && !receives.empty()) {
      const Transfer& send = sends.front();
      const Transfer& receive = receives.front();
      if (send.bytes != receive.bytes) {
        for (ncclComm_t rank : pair.ranks) rank->failure = ncclInvalidUsage;
        return;
      }
      std::memcpy(receive.data, send.data, send.bytes);
      ++send.stream->finished;
      ++receive.stream->finished;
      sends.pop_front();
      receives.pop_front();
    }
  }

  mutable std::mutex mutex_;
  std::condition_variable aborts_released_;
  bool hang_transfers_ = false;
  bool hang_connections_ = false;
  bool hold_aborts_ = false;
  uint64_t ids_ = 0;
  int aborted_ = 0;
  std::map<uint64_t, Pair> pairs_;
  std::set<ncclComm_t> live_;
};

Fake& TheFake() {
  static auto* const fake = new Fake;  // aborts may run to the end of the process
  return *fake;
}

Transfer Of(const void* data, size_t bytes, cudaStream_t stream) {
  return {const_cast<void*>(data), bytes, reinterpret_cast<FakeStream*>(stream)};
}

}  // namespace

extern "C" {

switchyard::kernels::FakeNccl* SwitchyardFakeNccl() { return &TheFake(); }

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  TheFake().NewId(id);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* communicator, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  return TheFake().Init(communicator, ranks, id, rank, *config);
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t communicator, ncclResult_t* state) {
  return TheFake().State(communicator, state);
}

ncclResult_t ncclCommAbort(ncclComm_t communicator) { return TheFake().Abort(communicator); }

ncclResult_t ncclSend(const void* data, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t communicator, cudaStream_t stream) {
  if (type != ncclUint8) return ncclInvalidArgument;
  return TheFake().Start(communicator, 1 - peer, Of(data, count, stream));
}

ncclResult_t ncclRecv(void* data, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t communicator, cudaStream_t stream) {
  if (type != ncclUint8) return ncclInvalidArgument;
  return TheFake().Start(communicator, 1 - peer, Of(data, count, stream));
}

}  // extern "C"
