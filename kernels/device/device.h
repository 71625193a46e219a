#pragma once

// What a role computes on: the processor's cores, or one GPU. The operations are those of the
// folders of kernels/, with the same arguments and, in one numerics class, the same bits on every
// device.
//
// Operations run in the order of the calls; a call may return before its operation has run. Until
// Finish (or a call that says that it waits) the host touches nothing that they read or write.
// Activations, caches and weights are memory of the device (kernels/base/memory.h), which the host
// reaches at the same addresses. Short arrays that describe the work are the host's and are copied
// by the call: ids, positions, sequences and their pages, rope tables, router conventions, sampling
// parameters, expert rows and groups.
//
// Used by one thread.

#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "kernels/attention/attention.h"
#include "kernels/base/numerics.h"
#include "kernels/base/thread_pool.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/embedding/embedding.h"
#include "kernels/expert_ffn/combine.h"
#include "kernels/expert_ffn/expert_ffn.h"
#include "kernels/layernorm/layernorm.h"
#include "kernels/matmul/matmul.h"
#include "kernels/positions/positions.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rope/rope.h"
#include "kernels/router/router.h"
#include "kernels/sampling/sampling.h"

namespace switchyard::kernels {

class Device {
 public:
  // `pool`: the host's threads, for what the device leaves to them. Must outlive it.
  explicit Device(ThreadPool& pool) : pool_(pool) {}
  virtual ~Device() = default;

  ThreadPool& pool() const { return pool_; }

  virtual std::string_view name() const = 0;  // "cpu", "cuda:0"

  // All of the memory that it computes in, the host's or a GPU's own, in use or not.
  virtual int64_t memory_bytes() const = 0;

  // Whether it has this class's matmuls. Weights of another class must not reach it.
  virtual bool Computes(NumericsClass numerics) const = 0;

  virtual void Embedding(const EmbeddingArgs& args) = 0;
  virtual void AddPositions(const AddPositionsArgs& args) = 0;
  virtual void RmsNorm(const RmsNormArgs& args) = 0;
  virtual void LayerNorm(const LayerNormArgs& args) = 0;
  virtual void Rope(const RopeArgs& args) = 0;
  virtual void Matmul(const MatmulArgs& args) = 0;
  virtual void StoreKv(const StoreKvArgs& args) = 0;
  virtual void Attention(const AttentionArgs& args) = 0;
  virtual void Clamp(const FloatRows& rows, float limit) = 0;
  virtual void Add(const FloatRows& rows, const float* y) = 0;
  virtual void AddBias(const FloatRows& rows, const float* bias) = 0;
  virtual void AddGated(const FloatRows& rows, const float* gate, const float* y) = 0;
  virtual void CopyRows(const CopyRowsArgs& args) = 0;
  virtual void ToWire(const float* x, int64_t elements, DType wire, void* y) = 0;

  // Waits where the batch says that its rows are on the host.
  virtual void ExpertFfn(const ExpertBatch& batch, ExpertWorkspace& workspace) = 0;

  // Waits. The outputs of RouterArgs are the host's.
  virtual absl::Status Route(const RouterArgs& args) = 0;

  // Waits. What SampleToken (kernels/sampling) gives for each row.
  virtual absl::Status Sample(const SampleArgs& args) = 0;

  // The experts' rows are the host's and are read by the call.
  virtual void CombineTokens(const CombineTokensArgs& args) = 0;

  // Waits until everything that was called has run. What went wrong on the device since the last
  // time, if anything; what was computed is then worth nothing.
  virtual absl::Status Finish() = 0;

 protected:
  ThreadPool& pool_;
};

}  // namespace switchyard::kernels
