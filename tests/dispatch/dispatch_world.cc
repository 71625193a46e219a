#include "tests/dispatch/dispatch_world.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/base/bf16.h"
#include "services/base/check.h"

namespace switchyard::testing {
namespace {

using kernels::DType;

kernels::PackedMatrix RandomMatrix(kernels::NumericsClass numerics, int64_t n, int64_t k,
                                   std::mt19937& random) {
  std::normal_distribution<float> normal(0.0f, 0.1f);
  std::vector<float> values(n * k);
  for (float& value : values) value = normal(random);
  kernels::PackedMatrix matrix(numerics, n, k);
  matrix.PackRows(0, n, values.data(), DType::kFloat32);
  return matrix;
}

}  // namespace

DispatchWorld::DispatchWorld(const WorldShape& shape, TransportOver over)
    : shape_(shape), over_(std::move(over)) {
  std::mt19937 random(1);
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    for (uint32_t expert = 0; expert < shape.experts; ++expert) {
      auto weights = std::make_shared<kernels::ExpertWeights>();
      weights->gate = RandomMatrix(shape.numerics, shape.intermediate, shape.hidden, random);
      weights->up = RandomMatrix(shape.numerics, shape.intermediate, shape.hidden, random);
      weights->down = RandomMatrix(shape.numerics, shape.hidden, shape.intermediate, random);
      experts_[{layer, expert}] = std::move(weights);
    }
  }
  router::RemoteDispatcherOptions options;
  options.transport = [this](uint64_t incarnation) { return StartTransport(kRouter, incarnation); };
  options.request_channel = [this](const auto&... arguments) {
    return RequestChannel(arguments...);
  };
  options.member = kRouter;
  options.incarnation = 77;
  options.model_digest = 5;
  options.numerics = shape.numerics;
  options.hidden = shape.hidden;
  options.top_k = shape.top_k;
  options.slot_assignments = shape.slot_assignments;
  options.resend_after = std::chrono::milliseconds(100);
  auto dispatcher = router::RemoteDispatcher::Start(std::move(options));
  CHECK(dispatcher.ok());
  dispatcher_ = *std::move(dispatcher);
}

DispatchWorld::~DispatchWorld() = default;

std::unique_ptr<transport::Transport> DispatchWorld::StartTransport(uint64_t member,
                                                                    uint64_t incarnation) {
  auto loopback = network_.Start(member, incarnation);
  return over_ == nullptr ? std::move(loopback) : over_(std::move(loopback));
}

size_t DispatchWorld::row_bytes() const {
  return shape_.hidden * kernels::SizeOf(WireType(shape_.numerics));
}

void DispatchWorld::StartHost(uint32_t index, uint32_t first_expert, uint32_t stride) {
  auto host = std::make_unique<Host>();
  host->owned.resize(shape_.layers);
  expert::Experts held;
  for (const auto& [id, weights] : experts_) {
    if (id.expert % stride != first_expert) continue;
    held[id] = weights;
    host->owned[id.layer].push_back(id.expert);
  }
  host->store.Insert(std::move(held));
  host->incarnation = next_incarnation_++;
  expert::ExpertLoopOptions options;
  options.transport = [this, index](uint64_t incarnation) {
    return StartTransport(kFirstHost + index, incarnation);
  };
  options.member = kFirstHost + index;
  options.incarnation = host->incarnation;
  options.model_digest = 5;
  options.numerics = shape_.numerics;
  options.hidden = shape_.hidden;
  options.experts_per_layer.assign(shape_.layers, shape_.experts);
  options.store = &host->store;
  options.device = &device_;
  auto loop = expert::ExpertLoop::Start(std::move(options));
  CHECK(loop.ok());
  host->loop = *std::move(loop);
  std::lock_guard lock(mutex_);
  hosts_[index] = std::move(host);
}

void DispatchWorld::KillHost(uint32_t index) {
  std::unique_ptr<Host> host;
  {
    std::lock_guard lock(mutex_);
    host = std::move(hosts_.at(index));
    hosts_.erase(index);
  }
  network_.Kill(kFirstHost + index, host->incarnation);
}

absl::StatusOr<transport::PeerAddress> DispatchWorld::RequestChannel(
    const v1::Member& host, const transport::PeerAddress& router,
    const transport::SlotLayout& layout, uint64_t nonce) {
  std::lock_guard lock(mutex_);
  const auto found = hosts_.find(static_cast<uint32_t>(host.id() - kFirstHost));
  if (found == hosts_.end() || found->second->incarnation != host.incarnation()) {
    return absl::UnavailableError("connection refused");
  }
  return found->second->loop->OpenChannel(router, layout, nonce,
                                          Clock::Real().Now() + std::chrono::seconds(5));
}

void DispatchWorld::Publish() {
  v1::Placement placement;
  placement.set_epoch(++epoch_);
  std::lock_guard lock(mutex_);
  for (const auto& [index, host] : hosts_) {
    v1::Member* member = placement.add_hosts();
    member->set_name(absl::StrCat("host-", index));
    member->set_id(kFirstHost + index);
    member->set_incarnation(host->incarnation);
  }
  for (uint32_t layer = 0; layer < shape_.layers; ++layer) {
    v1::LayerPlacement* layers = placement.add_layers();
    layers->set_layer(layer);
    layers->add_offsets(0);
    for (uint32_t expert = 0; expert < shape_.experts; ++expert) {
      uint32_t position = 0;
      for (const auto& [index, host] : hosts_) {
        const auto& owned = host->owned[layer];
        if (std::find(owned.begin(), owned.end(), expert) != owned.end()) {
          layers->add_hosts(position);
        }
        ++position;
      }
      layers->add_offsets(layers->hosts_size());
    }
  }
  auto view = runtime::PlacementView::Parse(std::move(placement));
  CHECK(view.ok());
  dispatcher_->SetPlacement(*std::move(view));
}

LayerInput DispatchWorld::MakeInput(uint32_t layer, int64_t rows, uint32_t seed) const {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  LayerInput input;
  input.layer = layer;
  input.rows = rows;
  input.activations.resize(rows * row_bytes());
  for (int64_t i = 0; i < rows * shape_.hidden; ++i) {
    const float value = normal(random);
    if (shape_.numerics == kernels::NumericsClass::kFp32) {
      std::memcpy(input.activations.data() + i * 4, &value, 4);
    } else {
      const uint16_t rounded = kernels::FloatToBf16(value);
      std::memcpy(input.activations.data() + i * 2, &rounded, 2);
    }
  }
  std::vector<int32_t> ids(shape_.experts);
  std::iota(ids.begin(), ids.end(), 0);
  for (int64_t row = 0; row < rows; ++row) {
    std::shuffle(ids.begin(), ids.end(), random);
    for (uint32_t rank = 0; rank < shape_.top_k; ++rank) {
      input.experts.push_back(ids[rank]);
      input.weights.push_back(std::uniform_real_distribution<float>(0.1f, 0.9f)(random));
    }
  }
  return input;
}

std::vector<std::byte> DispatchWorld::Expected(const LayerInput& input) const {
  std::vector<std::byte> output(input.experts.size() * row_bytes());
  for (size_t i = 0; i < input.experts.size(); ++i) {
    const kernels::ExpertRow row = {input.activations.data() + (i / shape_.top_k) * row_bytes(),
                                    output.data() + i * row_bytes(), input.weights[i]};
    const kernels::ExpertGroup group = {
        experts_.at({input.layer, static_cast<uint32_t>(input.experts[i])}).get(), 0, 1};
    kernels::ExpertFfnReference({{&row, 1}, {&group, 1}, WireType(shape_.numerics)});
  }
  return output;
}

router::DispatchRequest DispatchWorld::Request(const LayerInput& input, Duration limit) const {
  return {.micro_batch = 0,
          .layer = input.layer,
          .phase = transport::Phase::kDecode,
          .rows = input.rows,
          .activations = input.activations.data(),
          .experts = input.experts.data(),
          .weights = input.weights.data(),
          .timeout = limit};
}

absl::StatusOr<std::vector<std::byte>> DispatchWorld::Run(const LayerInput& input, Duration limit) {
  dispatcher_->Begin(Request(input, limit));
  absl::Status status;
  while (!dispatcher_->Finished(0, &status)) {
    dispatcher_->Wait(Clock::Real().Now() + std::chrono::milliseconds(20));
  }
  if (!status.ok()) return status;
  std::vector<std::byte> output(input.experts.size() * row_bytes());
  const router::DispatchResult result = dispatcher_->Result(0);
  for (size_t i = 0; i < result.size(); ++i) {
    if (result[i] != nullptr) {
      std::memcpy(output.data() + i * row_bytes(), result[i], row_bytes());
    }
  }
  return output;
}

void DispatchWorld::WaitUntilReady() {
  const TimePoint deadline = Clock::Real().Now() + std::chrono::seconds(30);
  while (!dispatcher_->Ready()) {
    CHECK(Clock::Real().Now() < deadline);
    dispatcher_->Wait(Clock::Real().Now() + std::chrono::milliseconds(5));
  }
}

}  // namespace switchyard::testing
