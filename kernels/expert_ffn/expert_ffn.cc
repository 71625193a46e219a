#include "kernels/expert_ffn/expert_ffn.h"

#include <algorithm>
#include <cstring>

#include "kernels/base/cpu.h"
#include "kernels/expert_ffn/row_kernels.h"
#include "kernels/matmul/panel_product.h"

namespace switchyard::kernels {
namespace {

constexpr int64_t kPanel = PackedMatrix::kPanel;
constexpr int64_t kMaxRows = PanelKernel::kMaxRows;

// Weights that a tile streams: small enough to balance threads, large enough to hide its start.
constexpr int64_t kTileBytes = 256 * 1024;

// Fewer row elements than this are prepared faster by one thread than two threads meet.
constexpr int64_t kSerialElements = 16384;

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t RoundUp(int64_t a, int64_t b) { return DivideUp(a, b) * b; }

const float* PanelBias(const Floats& bias, int64_t panel) {
  return bias.empty() ? nullptr : bias.data() + panel * kPanel;
}

// One batch in flight: where its rows and intermediate activations are.
class Run {
 public:
  Run(const ExpertBatch& batch, ExpertWorkspace& workspace);

  void PrepareInputs(ThreadPool& pool);
  void GateAndUp(ThreadPool& pool);
  void Down(ThreadPool& pool);

 private:
  struct Tile {
    const ExpertGroup* group;
    int64_t first_row, rows;  // of the batch
    int64_t first_panel, panels;
  };

  int64_t panels_per_tile(const PackedMatrix& w) const {
    return std::max<int64_t>(1, kTileBytes / w.panel_bytes());
  }
  const void* Input(int64_t row) const {
    return inputs_ == nullptr ? batch_.rows[static_cast<size_t>(row)].input
                              : inputs_ + row * input_stride_;
  }
  char* Intermediate(int64_t row, int64_t element) const {
    return activations_ + row * activation_stride_ +
           element * static_cast<int64_t>(SizeOf(kernel_.row_type));
  }

  // Calls run(tile) for tiles that cover all rows of all groups times all panels of a matrix.
  template <typename F>
  void ForEachTile(ThreadPool& pool, int64_t panels, int64_t panels_per_tile, const F& run);

  void GateAndUpTile(const Tile& tile) const;
  void DownTile(const Tile& tile) const;

  const ExpertBatch& batch_;
  const NumericsClass numerics_;
  const int64_t hidden_;
  const int64_t intermediate_;
  const PanelKernel& kernel_;
  const RowKernels& row_kernels_;
  int64_t input_stride_ = 0;       // bytes
  int64_t activation_stride_ = 0;  // bytes
  char* inputs_ = nullptr;         // null: rows are read where they are
  char* activations_ = nullptr;
  int64_t* tile_ends_ = nullptr;  // running count of tiles over groups
};

Run::Run(const ExpertBatch& batch, ExpertWorkspace& workspace)
    : batch_(batch),
      numerics_(batch.groups[0].weights->gate.numerics()),
      hidden_(batch.groups[0].weights->gate.k()),
      intermediate_(batch.groups[0].weights->gate.n()),
      kernel_(PanelKernelFor(numerics_, ActiveCpuLevel())),
      row_kernels_(RowKernelsFor(ActiveCpuLevel())) {
  const int64_t element = static_cast<int64_t>(SizeOf(kernel_.row_type));
  const int64_t rows = static_cast<int64_t>(batch.rows.size());
  input_stride_ = PanelKernel::RowStride(hidden_) * element;
  activation_stride_ = PanelKernel::RowStride(intermediate_) * element;
  const bool prepares = !kernel_.TakesWireRows(numerics_, hidden_);
  const int64_t ends_bytes =
      RoundUp(static_cast<int64_t>(batch.groups.size() * sizeof(int64_t)), 64);
  const int64_t input_bytes = prepares ? rows * input_stride_ : 0;
  workspace.activations.Reserve(
      static_cast<size_t>(ends_bytes + input_bytes + rows * activation_stride_));
  char* next = workspace.activations.As<char>();
  tile_ends_ = reinterpret_cast<int64_t*>(next);
  next += ends_bytes;
  if (prepares) inputs_ = next;
  activations_ = next + input_bytes;
}

void Run::PrepareInputs(ThreadPool& pool) {
  if (inputs_ == nullptr) return;
  const int64_t rows = static_cast<int64_t>(batch_.rows.size());
  const auto prepare = [&](int64_t row, int) {
    kernel_.prepare_row(batch_.rows[static_cast<size_t>(row)].input, hidden_,
                        inputs_ + row * input_stride_);
  };
  if (rows * hidden_ <= kSerialElements) {
    for (int64_t row = 0; row < rows; ++row) prepare(row, 0);
  } else {
    pool.ParallelFor(rows, prepare);
  }
}

template <typename F>
void Run::ForEachTile(ThreadPool& pool, int64_t panels, int64_t panels_per_tile, const F& run) {
  const int64_t panel_tiles = DivideUp(panels, panels_per_tile);
  int64_t total = 0;
  for (size_t i = 0; i < batch_.groups.size(); ++i) {
    const ExpertGroup& group = batch_.groups[i];
    total += DivideUp(group.end - group.begin, kMaxRows) * panel_tiles;
    tile_ends_[i] = total;
  }
  pool.ParallelFor(total, [&](int64_t index, int) {
    const int64_t* end = std::upper_bound(tile_ends_, tile_ends_ + batch_.groups.size(), index);
    const ExpertGroup& group = batch_.groups[static_cast<size_t>(end - tile_ends_)];
    const int64_t in_group = index - (end == tile_ends_ ? 0 : end[-1]);
    // Tiles of the same rows follow one another, so that the rows stay in the cache.
    Tile tile;
    tile.group = &group;
    tile.first_row = group.begin + in_group / panel_tiles * kMaxRows;
    tile.rows = std::min(kMaxRows, group.end - tile.first_row);
    tile.first_panel = in_group % panel_tiles * panels_per_tile;
    tile.panels = std::min(panels_per_tile, panels - tile.first_panel);
    run(tile);
  });
}

void Run::GateAndUp(ThreadPool& pool) {
  const PackedMatrix& gate = batch_.groups[0].weights->gate;
  ForEachTile(pool, gate.panels(), std::max<int64_t>(1, panels_per_tile(gate) / 2),
              [&](const Tile& tile) { GateAndUpTile(tile); });
}

void Run::GateAndUpTile(const Tile& tile) const {
  const ExpertWeights& weights = *tile.group->weights;
  const void* rows[kMaxRows];
  for (int64_t i = 0; i < tile.rows; ++i) rows[i] = Input(tile.first_row + i);
  for (int64_t panel = tile.first_panel; panel < tile.first_panel + tile.panels; ++panel) {
    alignas(64) float gate[kMaxRows * kPanel];
    alignas(64) float up[kMaxRows * kPanel];
    kernel_.product(rows, tile.rows, weights.gate.panel(panel), hidden_, gate);
    if (weights.gated()) kernel_.product(rows, tile.rows, weights.up.panel(panel), hidden_, up);
    const int64_t outputs = std::min(kPanel, intermediate_ - panel * kPanel);
    for (int64_t i = 0; i < tile.rows; ++i) {
      row_kernels_.activate({.activation = weights.activation,
                             .limit = weights.limit,
                             .gate = gate + i * kPanel,
                             .up = weights.gated() ? up + i * kPanel : nullptr,
                             .gate_bias = PanelBias(weights.gate_bias, panel),
                             .up_bias = PanelBias(weights.up_bias, panel)},
                            outputs, WireType(numerics_), kernel_.row_type,
                            Intermediate(tile.first_row + i, panel * kPanel));
      // The kernel reads pairs: an odd last element is followed by a zero.
      if (outputs < kPanel) std::memset(Intermediate(tile.first_row + i, intermediate_), 0, 4);
    }
  }
}

void Run::Down(ThreadPool& pool) {
  const PackedMatrix& down = batch_.groups[0].weights->down;
  ForEachTile(pool, down.panels(), panels_per_tile(down),
              [&](const Tile& tile) { DownTile(tile); });
}

void Run::DownTile(const Tile& tile) const {
  const ExpertWeights& weights = *tile.group->weights;
  const int64_t output_bytes = static_cast<int64_t>(SizeOf(batch_.output_type));
  const void* rows[kMaxRows];
  for (int64_t i = 0; i < tile.rows; ++i) rows[i] = Intermediate(tile.first_row + i, 0);
  for (int64_t panel = tile.first_panel; panel < tile.first_panel + tile.panels; ++panel) {
    alignas(64) float out[kMaxRows * kPanel];
    kernel_.product(rows, tile.rows, weights.down.panel(panel), intermediate_, out);
    const int64_t outputs = std::min(kPanel, hidden_ - panel * kPanel);
    for (int64_t i = 0; i < tile.rows; ++i) {
      const ExpertRow& row = batch_.rows[static_cast<size_t>(tile.first_row + i)];
      row_kernels_.weighted_store(out + i * kPanel, PanelBias(weights.down_bias, panel),
                                  row.gate_weight, outputs, batch_.output_type,
                                  static_cast<char*>(row.output) + panel * kPanel * output_bytes);
    }
  }
}

}  // namespace

void ExpertFfn(const ExpertBatch& batch, ExpertWorkspace& workspace, ThreadPool& pool) {
  if (batch.groups.empty()) return;
  Run run(batch, workspace);
  run.PrepareInputs(pool);
  run.GateAndUp(pool);
  run.Down(pool);
}

}  // namespace switchyard::kernels
