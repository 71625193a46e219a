#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_launch.h"
#include "kernels/cuda/tensor_map.h"
#include "kernels/expert_ffn/grouped_gemm_cuda.h"
#include "kernels/expert_ffn/grouped_gemm_kernel.h"

namespace switchyard::kernels {
namespace {

using grouped::PackedShape;
using grouped::Product;
using grouped::ProductArgs;
using grouped::ProductPlan;
using grouped::RowGroup;

absl::Status CopyToDevice(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return absl::OkStatus();
  return FromCuda(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice),
                  absl::StrCat("cudaMemcpy of ", bytes, " bytes of an expert"));
}

// Packs, copies and describes one product's weights.
absl::StatusOr<DeviceMemory> Upload(const PackedShape& shape, const grouped::SourceMatrix& first,
                                    const grouped::SourceMatrix& second, CUtensorMap& map) {
  const auto bytes = static_cast<size_t>(shape.bytes());
  absl::StatusOr<DeviceMemory> memory = DeviceMemory::Allocate(bytes);
  if (!memory.ok()) return memory.status();
  std::vector<uint16_t> packed(bytes / sizeof(uint16_t));
  grouped::PackBlocks(shape, first, second, 0, shape.blocks(), packed.data());
  const absl::Status copied = CopyToDevice(memory->data(), packed.data(), bytes);
  if (!copied.ok()) return copied;
  const absl::StatusOr<CUtensorMap> encoded =
      EncodeTensorMap({memory->data(), shape.lines(), grouped::kBlockRows});
  if (!encoded.ok()) return encoded.status();
  map = *encoded;
  return memory;
}

// The three biases one behind the other.
absl::StatusOr<DeviceMemory> UploadBiases(const grouped::ExpertSource& source,
                                          grouped::ExpertView& view) {
  std::vector<float> all;
  for (const auto bias : {source.gate_bias, source.up_bias, source.down_bias}) {
    all.insert(all.end(), bias.begin(), bias.end());
  }
  absl::StatusOr<DeviceMemory> memory = DeviceMemory::Allocate(all.size() * sizeof(float));
  if (!memory.ok()) return memory.status();
  const absl::Status copied = CopyToDevice(memory->data(), all.data(), all.size() * sizeof(float));
  if (!copied.ok()) return copied;
  const float* next = memory->As<float>();
  const auto take = [&](std::span<const float> bias) {
    return bias.empty() ? nullptr : std::exchange(next, next + bias.size());
  };
  view.gate_bias = take(source.gate_bias);
  view.up_bias = take(source.up_bias);
  view.down_bias = take(source.down_bias);
  return memory;
}

using Kernel = void (*)(ProductArgs);

Kernel KernelOf(Product product, int warpgroups) {
  if (product == Product::kFirst) {
    return warpgroups == 2 ? grouped::RunProduct<Product::kFirst, 2>
                           : grouped::RunProduct<Product::kFirst, 1>;
  }
  return warpgroups == 2 ? grouped::RunProduct<Product::kDown, 2>
                         : grouped::RunProduct<Product::kDown, 1>;
}

// Kernels may have more shared memory than the 48 KiB that need no permission.
absl::Status AllowSharedMemory() {
  for (const Product product : {Product::kFirst, Product::kDown}) {
    for (const int warpgroups : {1, 2}) {
      const cudaError_t error =
          cudaFuncSetAttribute(reinterpret_cast<const void*>(KernelOf(product, warpgroups)),
                               cudaFuncAttributeMaxDynamicSharedMemorySize, grouped::kSharedBudget);
      if (error != cudaSuccess) return FromCuda(error, "cudaFuncSetAttribute");
    }
  }
  return absl::OkStatus();
}

absl::Status LaunchProduct(Product product, const ProductPlan& plan, const ProductArgs& args,
                           cudaStream_t stream) {
  if (plan.tiles == 0) return absl::OkStatus();
  const int warpgroups = plan.shared.warpgroups;
  KernelOf(product,
           warpgroups)<<<static_cast<unsigned>(plan.grid), grouped::ThreadsOfBlock(warpgroups),
                         plan.shared.bytes(), stream>>>(args);
  return CheckLaunch(product == Product::kFirst ? "the first product of experts"
                                                : "the down product of experts");
}

absl::Status CheckBatch(const GroupedExpertBatch& batch) {
  const int64_t rows = std::ssize(batch.rows);
  if (rows > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat(rows, " rows in an expert batch: there must be fewer than 2^31"));
  }
  for (const GroupedExpertGroup& group : batch.groups) {
    if (group.begin < 0 || group.begin > group.end || group.end > rows) {
      return absl::InvalidArgumentError(absl::StrCat("rows ", group.begin, " to ", group.end,
                                                     " of an expert: the batch has ", rows));
    }
    if (group.expert->shape() != batch.groups[0].expert->shape()) {
      return absl::InvalidArgumentError("experts of one batch differ in their sizes");
    }
  }
  return grouped::CheckRows(batch.rows);
}

}  // namespace

absl::StatusOr<GroupedExpert> GroupedExpert::Create(const grouped::ExpertSource& source) {
  if (absl::Status status = grouped::CheckSource(source); !status.ok()) return status;
  GroupedExpert expert;
  expert.shape_ = ShapeOf(source);
  expert.view_ = {.activation = source.activation, .limit = source.limit};
  auto first = Upload(expert.shape_.first(), source.gate, source.up, expert.view_.first);
  if (!first.ok()) return first.status();
  auto down = Upload(expert.shape_.down(), source.down, {}, expert.view_.down);
  if (!down.ok()) return down.status();
  auto biases = UploadBiases(source, expert.view_);
  if (!biases.ok()) return biases.status();
  expert.first_ = *std::move(first);
  expert.down_ = *std::move(down);
  expert.biases_ = *std::move(biases);
  return expert;
}

struct GroupedExpertFfn::State {
  CudaLaunch launch;
  int multiprocessors;
  // Kept, so that they allocate only while they grow.
  std::vector<grouped::ExpertView> experts;
  std::vector<RowGroup> groups;

  void Describe(const GroupedExpertBatch& batch) {
    experts.clear();
    groups.clear();
    for (const GroupedExpertGroup& group : batch.groups) {
      groups.push_back({.expert = static_cast<int32_t>(experts.size()),
                        .first_row = static_cast<int32_t>(group.begin),
                        .rows = static_cast<int32_t>(group.end - group.begin)});
      experts.push_back(group.expert->view());
    }
  }
};

GroupedExpertFfn::GroupedExpertFfn(std::unique_ptr<State> state) : state_(std::move(state)) {}
GroupedExpertFfn::GroupedExpertFfn(GroupedExpertFfn&&) noexcept = default;
GroupedExpertFfn& GroupedExpertFfn::operator=(GroupedExpertFfn&&) noexcept = default;
GroupedExpertFfn::~GroupedExpertFfn() = default;

absl::StatusOr<GroupedExpertFfn> GroupedExpertFfn::Create(int ordinal) {
  absl::StatusOr<CudaLaunch> launch = CudaLaunch::Create(ordinal);
  if (!launch.ok()) return launch.status();
  int multiprocessors = 0;
  const cudaError_t error =
      cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, ordinal);
  if (error != cudaSuccess) return FromCuda(error, "cudaDeviceGetAttribute");
  if (absl::Status status = AllowSharedMemory(); !status.ok()) return status;
  return GroupedExpertFfn(
      std::unique_ptr<State>(new State{*std::move(launch), multiprocessors, {}, {}}));
}

absl::StatusOr<PreparedExperts> GroupedExpertFfn::Prepare(const GroupedExpertBatch& batch) {
  if (absl::Status status = CheckBatch(batch); !status.ok()) return status;
  PreparedExperts prepared{};
  if (batch.rows.empty() || batch.groups.empty()) return prepared;
  State& state = *state_;
  state.Describe(batch);
  const grouped::ExpertShape& shape = batch.groups[0].expert->shape();
  prepared.first_plan = PlanProduct(shape.first(), state.groups, state.multiprocessors);
  prepared.down_plan = PlanProduct(shape.down(), state.groups, state.multiprocessors);
  prepared.first = {
      .experts = state.launch.Stage(std::span<const grouped::ExpertView>(state.experts)),
      .groups = state.launch.Stage(std::span<const RowGroup>(state.groups)),
      .group_count = static_cast<int32_t>(state.groups.size()),
      .rows = state.launch.Stage(batch.rows),
      .h = batch.activations,
      .h_stride = grouped::RowStride(shape.intermediate),
      .output_type = batch.output_type};
  const ProductArgs& staged = prepared.first;
  if (staged.experts == nullptr || staged.groups == nullptr || staged.rows == nullptr) {
    return Finish();
  }
  prepared.down = prepared.first;
  const auto specialise = [](ProductArgs& args, const PackedShape& weights,
                             const ProductPlan& plan) {
    args.weights = weights;
    args.steps = static_cast<int32_t>(weights.steps());
    args.row_tiles = plan.row_tiles;
    args.shared = plan.shared;
  };
  specialise(prepared.first, shape.first(), prepared.first_plan);
  specialise(prepared.down, shape.down(), prepared.down_plan);
  return prepared;
}

absl::Status GroupedExpertFfn::Launch(const PreparedExperts& prepared) {
  const absl::Status launched =
      LaunchProduct(Product::kFirst, prepared.first_plan, prepared.first, stream());
  if (!launched.ok()) return launched;
  return LaunchProduct(Product::kDown, prepared.down_plan, prepared.down, stream());
}

absl::Status GroupedExpertFfn::Run(const GroupedExpertBatch& batch) {
  const absl::StatusOr<PreparedExperts> prepared = Prepare(batch);
  if (!prepared.ok()) return prepared.status();
  return Launch(*prepared);
}

absl::Status GroupedExpertFfn::Finish() { return state_->launch.Finish(); }

cudaStream_t GroupedExpertFfn::stream() const { return state_->launch.stream(); }

}  // namespace switchyard::kernels
