#pragma once

// The processor's cores as a device: every operation has run when its call returns.

#include <vector>

#include "kernels/base/memory.h"
#include "kernels/base/thread_pool.h"
#include "kernels/device/device.h"

namespace switchyard::kernels {

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(ThreadPool& pool) : Device(pool), sampling_workspaces_(pool.threads()) {}

  std::string_view name() const override { return "cpu"; }
  bool Computes(NumericsClass numerics) const override {
    return numerics == NumericsClass::kFp32 || numerics == NumericsClass::kBf16;
  }
  int64_t memory_bytes() const override { return HostMemoryBytes(); }
  void Embedding(const EmbeddingArgs& args) override { kernels::Embedding(args); }
  void AddPositions(const AddPositionsArgs& args) override { kernels::AddPositions(args); }
  void RmsNorm(const RmsNormArgs& args) override { kernels::RmsNorm(args, pool_); }
  void LayerNorm(const LayerNormArgs& args) override { kernels::LayerNorm(args, pool_); }
  void Rope(const RopeArgs& args) override { kernels::Rope(args, pool_); }
  void Matmul(const MatmulArgs& args) override { kernels::Matmul(args, pool_); }
  void StoreKv(const StoreKvArgs& args) override { kernels::StoreKv(args, pool_); }
  void Attention(const AttentionArgs& args) override { kernels::Attention(args, pool_); }
  void Clamp(const FloatRows& rows, float limit) override { kernels::Clamp(rows, limit, pool_); }
  void Add(const FloatRows& rows, const float* y) override { kernels::Add(rows, y, pool_); }
  void AddBias(const FloatRows& rows, const float* bias) override {
    kernels::AddBias(rows, bias, pool_);
  }
  void AddGated(const FloatRows& rows, const float* gate, const float* y) override {
    kernels::AddGated(rows, gate, y, pool_);
  }
  void CopyRows(const CopyRowsArgs& args) override { kernels::CopyRows(args, pool_); }
  void ToWire(const float* x, int64_t elements, DType wire, void* y) override {
    kernels::ToWire(x, elements, wire, y, pool_);
  }
  void ExpertFfn(const ExpertBatch& batch, ExpertWorkspace& workspace) override {
    kernels::ExpertFfn(batch, workspace, pool_);
  }
  absl::Status Route(const RouterArgs& args) override { return kernels::Route(args, pool_); }
  absl::Status Sample(const SampleArgs& args) override {
    pool_.ParallelFor(args.rows, [&](int64_t row, int worker) {
      const std::span logits(args.logits[row], static_cast<size_t>(args.vocabulary));
      args.tokens[row] = SampleToken(logits, args.parameters[row], args.positions[row],
                                     sampling_workspaces_[worker]);
    });
    return absl::OkStatus();
  }
  void CombineTokens(const CombineTokensArgs& args) override {
    kernels::CombineTokens(args, pool_);
  }
  absl::Status Finish() override { return absl::OkStatus(); }

 private:
  std::vector<SamplingWorkspace> sampling_workspaces_;  // one a worker of the pool
};

}  // namespace switchyard::kernels
