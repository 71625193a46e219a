#pragma once

// A device whose operations are the kernels of <operation>_simt.h, started by a launcher
// (kernels/simt/host_launch.h says what one offers): of the CPU for tests, of CUDA for GPUs.

#include <string>
#include <utility>

#include "kernels/attention/attention_simt.h"
#include "kernels/attention/store_kv_simt.h"
#include "kernels/device/device.h"
#include "kernels/elementwise/elementwise_simt.h"
#include "kernels/embedding/embedding_simt.h"
#include "kernels/expert_ffn/combine_simt.h"
#include "kernels/expert_ffn/expert_ffn_simt.h"
#include "kernels/expert_ffn/grouped_gemm.h"
#include "kernels/layernorm/layernorm_simt.h"
#include "kernels/matmul/matmul_simt.h"
#include "kernels/positions/positions_simt.h"
#include "kernels/rmsnorm/rmsnorm_simt.h"
#include "kernels/rope/rope_simt.h"
#include "kernels/router/router_simt.h"
#include "kernels/sampling/sampling_simt.h"

namespace switchyard::kernels {

template <typename Launch, typename Products>
class SimtDevice final : public Device {
 public:
  SimtDevice(std::string name, Launch launch, Products products, ThreadPool& pool)
      : Device(pool),
        name_(std::move(name)),
        launch_(std::move(launch)),
        tensor_cores_(std::move(products)) {}

  std::string_view name() const override { return name_; }
  bool Computes(NumericsClass numerics) const override {
    return numerics != NumericsClass::kBf16Amx;
  }
  int64_t memory_bytes() const override { return launch_.memory_bytes(); }
  void Embedding(const EmbeddingArgs& args) override { simt::Embedding(args, launch_); }
  void AddPositions(const AddPositionsArgs& args) override { simt::AddPositions(args, launch_); }
  void RmsNorm(const RmsNormArgs& args) override { simt::RmsNorm(args, launch_); }
  void LayerNorm(const LayerNormArgs& args) override { simt::LayerNorm(args, launch_); }
  void Rope(const RopeArgs& args) override { simt::Rope(args, launch_); }
  void Matmul(const MatmulArgs& args) override {
    if (args.w->numerics() == NumericsClass::kBf16Sm90) {
      tensor_cores_.Matmul(args, launch_);
    } else {
      simt::Matmul(args, launch_);
    }
  }
  void StoreKv(const StoreKvArgs& args) override { simt::StoreKv(args, launch_); }
  void Attention(const AttentionArgs& args) override { simt::Attention(args, launch_); }
  void Clamp(const FloatRows& rows, float limit) override { simt::Clamp(rows, limit, launch_); }
  void Add(const FloatRows& rows, const float* y) override { simt::Add(rows, y, launch_); }
  void AddBias(const FloatRows& rows, const float* bias) override {
    simt::AddBias(rows, bias, launch_);
  }
  void AddGated(const FloatRows& rows, const float* gate, const float* y) override {
    simt::AddGated(rows, gate, y, launch_);
  }
  void CopyRows(const CopyRowsArgs& args) override { simt::CopyRows(args, launch_); }
  void ToWire(const float* x, int64_t elements, DType wire, void* y) override {
    simt::ToWire(x, elements, wire, y, launch_);
  }
  void ExpertFfn(const ExpertBatch& batch, ExpertWorkspace& workspace) override {
    if (batch.groups.empty()) return;
    if (batch.groups[0].weights->gate.numerics() == NumericsClass::kBf16Sm90) {
      tensor_cores_.ExpertFfn(batch, workspace, launch_);
    } else {
      simt::ExpertFfn(batch, workspace, launch_);
    }
  }
  absl::Status Route(const RouterArgs& args) override { return simt::Route(args, launch_, pool_); }
  absl::Status Sample(const SampleArgs& args) override { return simt::Sample(args, launch_); }
  void CombineTokens(const CombineTokensArgs& args) override { simt::CombineTokens(args, launch_); }
  absl::Status Finish() override { return launch_.Finish(); }

 private:
  const std::string name_;
  Launch launch_;
  grouped::GroupedGemm<Products> tensor_cores_;
};

}  // namespace switchyard::kernels
