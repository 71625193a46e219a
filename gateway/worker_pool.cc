#include "gateway/worker_pool.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "gateway/prefix_index.h"
#include "services/base/log.h"
#include "services/runtime/grpc_client.h"
#include "services/runtime/placement_watcher.h"

namespace switchyard::gateway {
namespace {

constexpr Duration kStatusTimeout = std::chrono::seconds(1);
constexpr size_t kIndexedBlocks = 1 << 18;

// How many more requests the worker with the prefix may have than the least busy one.
constexpr int kAffinitySlack = 8;

// A worker as the coordinator names it.
struct Identity {
  std::string name;
  std::string address;
  uint64_t incarnation = 0;

  // clang-tidy 14 takes the comparison of the result with 0 for one with a pointer.
  auto operator<=>(const Identity&) const = default;  // NOLINT(modernize-use-nullptr)
};

}  // namespace

Worker::Worker(uint64_t id, std::string name, const std::string& address)
    : id(id),
      name(std::move(name)),
      stub(v1::RouterWorker::NewStub(runtime::NewChannel(address))) {}

struct WorkerPool::Impl {
  struct Entry {
    std::shared_ptr<Worker> worker;
    v1::RouterWorkerStatus status;
    bool alive = false;      // answered the last poll and no call broke since
    bool was_ready = false;  // has served: experts that are missing now will come back
    bool polling = false;

    int load() const { return worker->in_flight + static_cast<int>(status.waiting()); }
  };

  struct Poll {
    std::unique_ptr<grpc::ClientContext> context = runtime::NewContext(kStatusTimeout);
    v1::RouterWorkerStatusRequest request;
    v1::RouterWorkerStatus response;
    Identity identity;
    uint64_t worker = 0;
  };

  explicit Impl(WorkerPoolOptions given) : options(std::move(given)) {
    if (!options.router_addresses.empty()) {
      std::vector<Identity> identities;
      for (const std::string& address : options.router_addresses) {
        identities.push_back({.name = address, .address = address});
      }
      SetWorkers(identities);
    } else {
      watcher = std::make_unique<runtime::PlacementWatcher>(runtime::PlacementWatcherOptions{
          .coordinator_address = options.coordinator_address,
          .on_placement = [this](const auto& view) { OnPlacement(*view); }});
    }
    thread = std::thread([this] { Run(); });
  }

  ~Impl() {
    watcher.reset();
    std::unique_lock<std::mutex> lock(mutex);
    stopping = true;
    changed.notify_all();
    // Each poll ends by its own deadline.
    changed.wait(lock, [this] { return polls_under_way == 0; });
    lock.unlock();
    thread.join();
  }

  void OnPlacement(const runtime::PlacementView& view) {
    std::vector<Identity> identities;
    for (const v1::Member& member : view.router_workers()) {
      identities.push_back({.name = member.name(),
                            .address = member.control_address(),
                            .incarnation = member.incarnation()});
    }
    SetWorkers(identities);
  }

  void SetWorkers(const std::vector<Identity>& identities) {
    std::lock_guard<std::mutex> lock(mutex);
    std::map<Identity, Entry> next;
    for (const Identity& identity : identities) {
      const auto known = entries.find(identity);
      if (known != entries.end()) {
        next[identity] = std::move(known->second);
        continue;
      }
      LogInfo() << "router worker " << identity.name << " at " << identity.address;
      next[identity].worker = std::make_shared<Worker>(++last_id, identity.name, identity.address);
    }
    entries = std::move(next);
    changed.notify_all();  // poll the new ones at once
  }

  void Run() {
    std::unique_lock<std::mutex> lock(mutex);
    while (!stopping) {
      for (auto& [identity, entry] : entries) StartPoll(identity, entry);
      changed.wait_for(lock, options.poll_interval);
    }
  }

  void StartPoll(const Identity& identity, Entry& entry) {
    if (entry.polling) return;
    entry.polling = true;
    ++polls_under_way;
    auto poll = std::make_shared<Poll>();
    poll->identity = identity;
    poll->worker = entry.worker->id;
    entry.worker->stub->async()->Status(
        poll->context.get(), &poll->request, &poll->response,
        [this, poll](const grpc::Status& status) { OnPolled(*poll, status); });
  }

  void OnPolled(Poll& poll, const grpc::Status& status) {
    std::lock_guard<std::mutex> lock(mutex);
    const auto found = entries.find(poll.identity);
    if (found != entries.end() && found->second.worker->id == poll.worker) {
      Entry& entry = found->second;
      entry.polling = false;
      if (entry.alive != status.ok()) {
        LogInfo() << "router worker " << entry.worker->name
                  << (status.ok() ? " answers" : " does not answer: " + status.error_message());
      }
      entry.alive = status.ok();
      if (status.ok()) Learn(std::move(poll.response), entry);
    }
    --polls_under_way;
    // Under the lock: the destructor may go on as soon as it is released.
    if (stopping) changed.notify_all();
  }

  void Learn(v1::RouterWorkerStatus status, Entry& entry) {
    entry.was_ready = entry.was_ready || status.ready();
    model =
        ModelInfo{.vocabulary = static_cast<int32_t>(status.vocabulary()),
                  .max_positions = status.max_positions(),
                  .eos_token_ids = {status.eos_token_ids().begin(), status.eos_token_ids().end()}};
    entry.status = std::move(status);
  }

  std::vector<Entry*> Usable(const std::vector<uint64_t>& avoid) {
    std::vector<Entry*> usable;
    std::vector<Entry*> avoided;
    for (auto& [identity, entry] : entries) {
      if (!entry.alive || !entry.was_ready) continue;
      const bool avoid_it = std::find(avoid.begin(), avoid.end(), entry.worker->id) != avoid.end();
      (avoid_it ? avoided : usable).push_back(&entry);
    }
    return usable.empty() ? avoided : usable;
  }

  const WorkerPoolOptions options;

  mutable std::mutex mutex;
  std::condition_variable changed;
  std::map<Identity, Entry> entries;
  std::optional<ModelInfo> model;
  PrefixIndex prefixes{kIndexedBlocks};
  uint64_t last_id = 0;
  int polls_under_way = 0;
  bool stopping = false;

  std::thread thread;
  std::unique_ptr<runtime::PlacementWatcher> watcher;
};

WorkerPool::WorkerPool(WorkerPoolOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}

WorkerPool::~WorkerPool() = default;

std::shared_ptr<Worker> WorkerPool::Pick(std::span<const int32_t> prompt,
                                         const std::vector<uint64_t>& avoid) {
  const std::vector<uint64_t> blocks = PrefixIndex::BlockHashes(prompt);
  std::lock_guard<std::mutex> lock(impl_->mutex);
  const std::vector<Impl::Entry*> usable = impl_->Usable(avoid);
  if (usable.empty()) return nullptr;
  Impl::Entry* chosen = *std::min_element(
      usable.begin(), usable.end(),
      [](const Impl::Entry* a, const Impl::Entry* b) { return a->load() < b->load(); });
  const int least = chosen->load();
  impl_->prefixes.Find(blocks, [&](uint64_t id) {
    const auto holder = std::find_if(usable.begin(), usable.end(), [id](const Impl::Entry* entry) {
      return entry->worker->id == id;
    });
    if (holder == usable.end() || (*holder)->load() > least + kAffinitySlack) return false;
    chosen = *holder;
    return true;
  });
  impl_->prefixes.Record(blocks, chosen->worker->id);
  return chosen->worker;
}

void WorkerPool::ReportBroken(const Worker& worker) {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  for (auto& [identity, entry] : impl_->entries) {
    if (entry.worker->id == worker.id) entry.alive = false;
  }
}

bool WorkerPool::ready() const {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  return std::any_of(impl_->entries.begin(), impl_->entries.end(), [](const auto& entry) {
    return entry.second.alive && entry.second.status.ready();
  });
}

std::optional<ModelInfo> WorkerPool::model() const {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  return impl_->model;
}

std::vector<WorkerReport> WorkerPool::Reports() const {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  std::vector<WorkerReport> reports;
  for (const auto& [identity, entry] : impl_->entries) {
    reports.push_back({.name = entry.worker->name, .alive = entry.alive, .status = entry.status});
  }
  return reports;
}

}  // namespace switchyard::gateway
