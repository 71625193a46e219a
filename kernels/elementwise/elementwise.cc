#include "kernels/elementwise/elementwise.h"

#include <algorithm>

#include "kernels/base/bf16.h"
#include "kernels/base/for_level.h"
#include "kernels/elementwise/elementwise_kernel.h"

namespace switchyard::kernels {
namespace {

const ElementwiseKernel& ActiveKernel() {
  return *ForActiveLevel(&kElementwiseScalar, &kElementwiseAvx2, &kElementwiseAvx512);
}

constexpr int64_t kTileElements = 16384;  // some microseconds of work

// Calls f(row index, row) for all rows.
template <typename F>
void ForEachRow(const FloatRows& rows, ThreadPool& pool, F f) {
  const int64_t per_tile = std::max<int64_t>(1, kTileElements / std::max<int64_t>(1, rows.width));
  pool.ParallelFor((rows.count + per_tile - 1) / per_tile, [&](int64_t tile, int) {
    const int64_t end = std::min((tile + 1) * per_tile, rows.count);
    for (int64_t row = tile * per_tile; row < end; ++row) f(row, rows.x + row * rows.stride);
  });
}

}  // namespace

void Clamp(const FloatRows& rows, float limit, ThreadPool& pool) {
  const auto clamp = ActiveKernel().clamp;
  ForEachRow(rows, pool, [&](int64_t, float* x) { clamp(x, limit, rows.width); });
}

void Add(const FloatRows& rows, const float* y, ThreadPool& pool) {
  const auto add = ActiveKernel().add;
  ForEachRow(rows, pool, [&](int64_t row, float* x) { add(x, y + row * rows.width, rows.width); });
}

void AddBias(const FloatRows& rows, const float* bias, ThreadPool& pool) {
  const auto add = ActiveKernel().add;
  ForEachRow(rows, pool, [&](int64_t, float* x) { add(x, bias, rows.width); });
}

void AddGated(const FloatRows& rows, const float* gate, const float* y, ThreadPool& pool) {
  const auto add_gated = ActiveKernel().add_gated;
  ForEachRow(rows, pool, [&](int64_t row, float* x) {
    add_gated(x, gate[row], y + row * rows.width, rows.width);
  });
}

void ToWire(const float* x, int64_t elements, DType wire, void* y, ThreadPool& pool) {
  pool.ParallelFor((elements + kTileElements - 1) / kTileElements, [&](int64_t tile, int) {
    const int64_t end = std::min(elements, (tile + 1) * kTileElements);
    for (int64_t i = tile * kTileElements; i < end; ++i) {
      if (wire == DType::kFloat32) {
        static_cast<float*>(y)[i] = x[i];
      } else {
        static_cast<uint16_t*>(y)[i] = FloatToBf16(x[i]);
      }
    }
  });
}

void CopyRows(const CopyRowsArgs& args, ThreadPool& pool) {
  const FloatRows rows = {args.to, args.to_stride, args.rows, args.width};
  ForEachRow(rows, pool, [&](int64_t row, float* to) {
    std::copy_n(args.from + row * args.from_stride, args.width, to);
  });
}

}  // namespace switchyard::kernels
