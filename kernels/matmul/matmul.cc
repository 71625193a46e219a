#include "kernels/matmul/matmul.h"

#include <algorithm>

#include "kernels/base/cpu.h"
#include "kernels/matmul/panel_product.h"

namespace switchyard::kernels {
namespace {

constexpr int64_t kPanel = PackedMatrix::kPanel;
constexpr int64_t kMaxRows = PanelKernel::kMaxRows;

// Rows that one thread prepares faster than a second one joins.
constexpr int64_t kSerialElements = 16384;

// Tiles should be small enough to balance threads and large enough to hide their start.
constexpr int64_t kTileBytes = 256 * 1024;

struct Rows {
  const char* data;
  int64_t stride;  // bytes
};

// Activation rows as the kernel reads them; a copy lives in `scratch` if one is needed.
Rows PrepareRows(const MatmulArgs& args, const PanelKernel& kernel, Buffer& scratch,
                 ThreadPool& pool) {
  const NumericsClass numerics = args.w->numerics();
  const int64_t k = args.w->k();
  const char* x = static_cast<const char*>(args.x);
  const int64_t x_stride = args.x_stride * static_cast<int64_t>(SizeOf(WireType(numerics)));
  if (kernel.TakesWireRows(numerics, k)) return {x, x_stride};
  const int64_t stride = PanelKernel::RowStride(k) * static_cast<int64_t>(SizeOf(kernel.row_type));
  scratch.Reserve(static_cast<size_t>(args.m * stride));
  char* prepared = scratch.As<char>();
  const auto prepare = [&](int64_t row, int) {
    kernel.prepare_row(x + row * x_stride, k, prepared + row * stride);
  };
  if (args.m * k <= kSerialElements) {
    for (int64_t row = 0; row < args.m; ++row) prepare(row, 0);
  } else {
    pool.ParallelFor(args.m, prepare);
  }
  return {prepared, stride};
}

void StoreTile(const float* tile, int64_t rows, int64_t outputs, float* y, int64_t y_stride) {
  for (int64_t row = 0; row < rows; ++row) {
    std::copy_n(tile + row * kPanel, outputs, y + row * y_stride);
  }
}

}  // namespace

void Matmul(const MatmulArgs& args, ThreadPool& pool) {
  if (args.m == 0) return;
  const PackedMatrix& w = *args.w;
  const PanelKernel& kernel = PanelKernelFor(w.numerics(), ActiveCpuLevel());
  // Kept by the thread, so that a layer's matmuls allocate only once.
  static thread_local Buffer scratch;
  const Rows rows = PrepareRows(args, kernel, scratch, pool);

  const int64_t panels_per_tile = std::max<int64_t>(1, kTileBytes / w.panel_bytes());
  const int64_t panel_tiles = (w.panels() + panels_per_tile - 1) / panels_per_tile;
  const int64_t row_tiles = (args.m + kMaxRows - 1) / kMaxRows;
  pool.ParallelFor(panel_tiles * row_tiles, [&](int64_t tile, int) {
    const int64_t first_row = tile / panel_tiles * kMaxRows;
    const int64_t count = std::min(kMaxRows, args.m - first_row);
    const void* row_data[kMaxRows];
    for (int64_t i = 0; i < count; ++i) {
      row_data[i] = rows.data + (first_row + i) * rows.stride;
    }
    const int64_t first_panel = tile % panel_tiles * panels_per_tile;
    const int64_t end_panel = std::min(first_panel + panels_per_tile, w.panels());
    for (int64_t panel = first_panel; panel < end_panel; ++panel) {
      alignas(64) float out[kMaxRows * kPanel];
      kernel.product(row_data, count, w.panel(panel), w.k(), out);
      const int64_t outputs = std::min(kPanel, w.n() - panel * kPanel);
      StoreTile(out, count, outputs, args.y + first_row * args.y_stride + panel * kPanel,
                args.y_stride);
    }
  });
}

}  // namespace switchyard::kernels
