#pragma once

// The threads of one product of the grouped GEMM for Hopper: out^T = W x^T over the tiles of all
// experts. Roles of a block of threads, which run at once and meet at the barriers of the pipeline:
//
//   warp 0      starts the copies of weights, by TMA: one thread
//   warps 1, 2  gather token rows, by cp.async: rows are anywhere, and TMA of Hopper reads regular
//               boxes only. Sixteen bytes a thread, swizzled as TMA would
//   the rest    one or two warpgroups multiply and then apply the epilogue; meanwhile the others
//               have begun the next tile
//
// docs/gpu.md says why it is so and what of it has run. Tests run the same roles as threads of the
// host, on an emulation of the instructions.

#include "kernels/expert_ffn/grouped_gemm_epilogue.h"
#include "kernels/expert_ffn/grouped_gemm_plan.h"
#include "kernels/expert_ffn/grouped_gemm_product.h"

#if defined(__CUDACC__)
#include "kernels/cuda/async_copy.h"
#include "kernels/cuda/barrier.h"
#include "kernels/cuda/wgmma.h"
#define SWITCHYARD_DEVICE __device__ inline
#else
#include "kernels/expert_ffn/grouped_gemm_emulation.h"
#define SWITCHYARD_DEVICE inline
#endif

namespace switchyard::kernels::grouped {

inline constexpr int kWarpgroupThreads = 128;
inline constexpr int kWeightsWarp = 0;
inline constexpr int kFirstGatherWarp = 1;
inline constexpr int kGatherWarps = 2;

// A thread copies a chunk of every eighth row, always the same chunk.
inline constexpr int kChunks = kLineBytes / 16;
inline constexpr int kRowsOfPass = 32 * kGatherWarps / kChunks;
inline constexpr int kMostPasses = kMostTokens / kRowsOfPass;
static_assert(kRowsOfPass * kLineBytes == kAtomBytes, "a pass writes an atom of the swizzle");

// Arrivals that fill and that empty a stage.
inline constexpr uint32_t kFillers = 1 + kGatherWarps;
constexpr uint32_t Emptiers(int warpgroups) { return static_cast<uint32_t>(4 * warpgroups); }

// Registers of a thread when two warpgroups multiply: 65,536 are 168 for each of 384 threads, and
// those that copy give some to those that hold sums. One warpgroup has 255 anyway.
inline constexpr int kCopyRegisters = 72;
inline constexpr int kSumRegisters = 216;
static_assert(kWarpgroupThreads * (kCopyRegisters + 2 * kSumRegisters) <= 65'536);

// Of a thread: its block among those of the launch, and itself in its block.
struct Place {
  int64_t block;
  int64_t blocks;
  int thread;

  SWITCHYARD_SIMT bool first_of_warp() const { return thread % 32 == 0; }
};

// A stage of the pipeline and the phase that its barriers are in; each role has its own.
struct StageCursor {
  int stage = 0;
  uint32_t phase = 0;

  SWITCHYARD_SIMT void Advance(int stages) {
    if (++stage < stages) return;
    stage = 0;
    phase ^= 1;
  }
};

// The maps of a block's halves.
template <Product product>
SWITCHYARD_DEVICE const WeightMap* MapOf(const ProductArgs& args, int expert, int half) {
  const ExpertView& view = args.experts[expert];
  if constexpr (product == Product::kDown) return &view.down;
  return args.weights.paired && half == 1 ? &view.up : &view.gate;
}

template <Product product, int kWarpgroups>
SWITCHYARD_DEVICE void FeedWeights(const ProductArgs& args, uint32_t shared, const Place& place) {
  TileCursor cursor(args.groups, args.group_count, args.row_tiles);
  StageCursor at;
  Tile tile;
  int expert = -1;
  for (int64_t index = place.block; cursor.Seek(index, &tile); index += place.blocks) {
    const WeightMap* const maps[2] = {MapOf<product>(args, tile.expert, 0),
                                      MapOf<product>(args, tile.expert, 1)};
    if (tile.expert != expert) {
      for (const WeightMap* map : maps) AcquireTensorMap(map);
    }
    expert = tile.expert;
    const int64_t block = int64_t{tile.row_tile} * kWarpgroups;
    for (int step = 0; step < args.steps; ++step) {
      WaitForPhase(shared + args.shared.empty(at.stage), at.phase ^ 1);
      const uint32_t full = shared + args.shared.full(at.stage);
      ArriveAndExpect(full, kWarpgroups * kBlockBytes);
      // The last blocks may be tiles too few; their lines are behind the last, thus zero.
      for (int half = 0; half < 2 * kWarpgroups; ++half) {
        const int64_t row_tile = args.weights.row_tile(block + half / 2, half % 2);
        const int64_t line = (row_tile * args.steps + step) * kInstructionRows;
        LoadLines(maps[half % 2], static_cast<int32_t>(line),
                  shared + args.shared.weights(at.stage, half / 2) +
                      static_cast<uint32_t>(half % 2) * kTileBytes,
                  full);
      }
      at.Advance(args.shared.stages);
    }
  }
}

// Where a tile's row `token` is read.
template <Product product>
SWITCHYARD_DEVICE const char* SourceRow(const ProductArgs& args, const Tile& tile, int token) {
  const int64_t row = tile.first_row + token;
  if constexpr (product == Product::kFirst) {
    return static_cast<const char*>(args.rows[row].input);
  } else {
    return reinterpret_cast<const char*>(args.x + row * args.x_stride);
  }
}

// The copies of one step of a tile, by 64 threads; `rows` are the thread's. Rows behind the tile's
// last and k behind the weights' last become zero: their columns are not stored, and zero times a
// weight's padding adds nothing.
SWITCHYARD_DEVICE void GatherStep(const ProductArgs& args, const Tile& tile, int thread, int step,
                                  const char* const (&rows)[kMostPasses], uint32_t tokens) {
  const int row = thread / kChunks, chunk = thread % kChunks;
  const uint32_t bytes = ChunkBytes(args.weights.k, step, chunk);
  const int64_t from = bytes > 0 ? int64_t{step} * kLineBytes + chunk * 16 : 0;
  const uint32_t to =
      tokens + Swizzle(static_cast<uint32_t>(row) * kLineBytes + static_cast<uint32_t>(chunk) * 16);
  const int passes = TokenWidth(tile.tokens) / kRowsOfPass;
  SWITCHYARD_UNROLL
  for (int pass = 0; pass < kMostPasses; ++pass) {
    if (pass >= passes) break;
    const bool exists = pass * kRowsOfPass + row < tile.tokens;
    CopyChunk(to + pass * kAtomBytes, rows[pass] + from, exists ? bytes : 0);
  }
  CommitCopies();
}

// The warp's copies of a stage have been made: tensor cores may read them.
SWITCHYARD_DEVICE void SignalGathered(uint32_t full, const Place& place) {
  FenceForTensorCores();
  SyncWarp();
  if (place.first_of_warp()) Arrive(full);
}

template <Product product>
SWITCHYARD_DEVICE void GatherTokens(const ProductArgs& args, uint32_t shared, const Place& place) {
  const int thread = place.thread - 32 * kFirstGatherWarp;
  TileCursor cursor(args.groups, args.group_count, args.row_tiles);
  StageCursor at, signalled;
  Tile tile;
  int under_way = 0;  // stages that are started and not signalled
  for (int64_t index = place.block; cursor.Seek(index, &tile); index += place.blocks) {
    const char* rows[kMostPasses];
    SWITCHYARD_UNROLL
    for (int pass = 0; pass < kMostPasses; ++pass) {
      const int token = pass * kRowsOfPass + thread / kChunks;
      rows[pass] = SourceRow<product>(args, tile, token < tile.tokens ? token : 0);
    }
    for (int step = 0; step < args.steps; ++step) {
      WaitForPhase(shared + args.shared.empty(at.stage), at.phase ^ 1);
      GatherStep(args, tile, thread, step, rows, shared + args.shared.tokens(at.stage));
      at.Advance(args.shared.stages);
      if (++under_way <= kGatherLag) continue;
      WaitForCopies<kGatherLag>();
      SignalGathered(shared + args.shared.full(signalled.stage), place);
      signalled.Advance(args.shared.stages);
      --under_way;
    }
  }
  WaitForCopies<0>();
  for (; under_way > 0; --under_way) {
    SignalGathered(shared + args.shared.full(signalled.stage), place);
    signalled.Advance(args.shared.stages);
  }
}

// The warpgroup's sums of one tile, over all k in ascending steps.
template <int kColumns>
SWITCHYARD_DEVICE void Multiply(const ProductArgs& args, uint32_t shared, const Place& place,
                                int warpgroup, StageCursor& at, float (&sums)[2][kColumns / 2]) {
  const bool arrives = place.first_of_warp();
  int last = 0;
  HandOver(sums[0]);
  HandOver(sums[1]);
  for (int step = 0; step < args.steps; ++step) {
    WaitForPhase(shared + args.shared.full(at.stage), at.phase);
    const uint64_t weights = OperandDescriptor(shared + args.shared.weights(at.stage, warpgroup));
    const uint64_t tokens = OperandDescriptor(shared + args.shared.tokens(at.stage));
    BeginProducts();
    SWITCHYARD_UNROLL
    for (int k = 0; k < kStepDepth / kInstructionDepth; ++k) {
      SWITCHYARD_UNROLL
      for (int half = 0; half < 2; ++half) {
        AddProduct(weights + half * kDescriptorHalf + k * kDescriptorStep,
                   tokens + k * kDescriptorStep, sums[half]);
      }
    }
    CommitProducts();
    // While this step is computed, the stage of the one before is free.
    WaitForProducts<1>();
    if (arrives && step > 0) Arrive(shared + args.shared.empty(last));
    last = at.stage;
    at.Advance(args.shared.stages);
  }
  WaitForProducts<0>();
  HandOver(sums[0]);
  HandOver(sums[1]);
  if (arrives) Arrive(shared + args.shared.empty(last));
}

template <Product product, int kWarpgroups, int kColumns>
SWITCHYARD_DEVICE void ComputeTile(const ProductArgs& args, uint32_t shared, const Place& place,
                                   const Tile& tile, int warpgroup, StageCursor& at) {
  float sums[2][kColumns / 2] = {};
  Multiply<kColumns>(args, shared, place, warpgroup, at, sums);
  const int64_t block = int64_t{tile.row_tile} * kWarpgroups + warpgroup;
  StoreTile<product, kColumns>(args, tile, block, place.thread % kWarpgroupThreads, sums);
}

template <Product product, int kWarpgroups>
SWITCHYARD_DEVICE void ComputeTiles(const ProductArgs& args, uint32_t shared, const Place& place,
                                    int warpgroup) {
  TileCursor cursor(args.groups, args.group_count, args.row_tiles);
  StageCursor at;
  Tile tile;
  for (int64_t index = place.block; cursor.Seek(index, &tile); index += place.blocks) {
    switch (TokenWidth(tile.tokens)) {
      case 8:
        ComputeTile<product, kWarpgroups, 8>(args, shared, place, tile, warpgroup, at);
        break;
      case 16:
        ComputeTile<product, kWarpgroups, 16>(args, shared, place, tile, warpgroup, at);
        break;
      case 32:
        ComputeTile<product, kWarpgroups, 32>(args, shared, place, tile, warpgroup, at);
        break;
      case 64:
        ComputeTile<product, kWarpgroups, 64>(args, shared, place, tile, warpgroup, at);
        break;
      default:
        ComputeTile<product, kWarpgroups, kMostTokens>(args, shared, place, tile, warpgroup, at);
        break;
    }
  }
}

constexpr int ThreadsOfBlock(int warpgroups) { return (1 + warpgroups) * kWarpgroupThreads; }

// By one thread of a block, before any other goes on.
SWITCHYARD_DEVICE void InitPipeline(const ProductArgs& args, uint32_t shared, int warpgroups) {
  for (int stage = 0; stage < args.shared.stages; ++stage) {
    InitBarrier(shared + args.shared.full(stage), kFillers);
    InitBarrier(shared + args.shared.empty(stage), Emptiers(warpgroups));
  }
  FenceBarrierInit();
}

// `warp` is the thread's, known to be the same for all of it.
template <Product product, int kWarpgroups>
SWITCHYARD_DEVICE void RunThread(const ProductArgs& args, uint32_t shared, const Place& place,
                                 int warp) {
  if (warp >= 4) {
    if constexpr (kWarpgroups == 2) RaiseRegisters<kSumRegisters>();
    ComputeTiles<product, kWarpgroups>(args, shared, place, warp / 4 - 1);
    return;
  }
  if constexpr (kWarpgroups == 2) LowerRegisters<kCopyRegisters>();
  if (warp == kWeightsWarp) {
    if (place.first_of_warp()) FeedWeights<product, kWarpgroups>(args, shared, place);
  } else if (warp < kFirstGatherWarp + kGatherWarps) {
    GatherTokens<product>(args, shared, place);
  }
}

}  // namespace switchyard::kernels::grouped

#undef SWITCHYARD_DEVICE
