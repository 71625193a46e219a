#pragma once

// Where every element of the grouped GEMM for Hopper's tensor cores lies: packed weights in global
// memory, tiles in shared memory, accumulators in registers. The same formulas on the host and in
// the kernel, so that tests check them without a device.
//
// The product is out^T = W x^T: weight rows are the M side of the instruction (64 rows), tokens the
// N side (8 to 128 columns). An expert's few tokens then leave no part of the instruction idle that
// a narrower instruction would not save.

#include <cstdint>

#include "kernels/matmul/tile_layout.h"
#include "kernels/simt/simt.h"

// For loops over registers, which have no index that is known only at run time, and for the loop
// that is kept as one.
#if defined(__CUDA_ARCH__)
#define SWITCHYARD_UNROLL _Pragma("unroll")
#define SWITCHYARD_NO_UNROLL _Pragma("unroll 1")
#else
#define SWITCHYARD_UNROLL
#define SWITCHYARD_NO_UNROLL
#endif

namespace switchyard::kernels::grouped {

// What one warpgroup multiplies: two instructions of 64 weight rows, each a packed tile
// (tile_layout.h). In a first product with three matrices the upper one is of W_gate and the lower
// of W_up, so both halves of an activation are in the same thread.
inline constexpr int kInstructionRows = TileLayout::kRows;
inline constexpr int kBlockRows = 2 * kInstructionRows;

// A step of the pipeline is 64 k: 128 bytes a row, the width of the widest swizzle, four
// instructions of 16 k.
inline constexpr int kStepDepth = TileLayout::kDepth;
inline constexpr int kInstructionDepth = 16;
inline constexpr int kLineBytes = 2 * kStepDepth;
inline constexpr int kTileBytes = kInstructionRows * kLineBytes;
inline constexpr int kBlockBytes = 2 * kTileBytes;

// Eight lines, the unit of the swizzle; tiles start at multiples of it.
inline constexpr int kAtomBytes = 8 * kLineBytes;

// Columns of an instruction, thus tokens of a tile. Two accumulators of 128 columns are 128
// registers a thread; 256 columns would leave none.
inline constexpr int kTokenWidths[] = {8, 16, 32, 64, 128};
inline constexpr int kMostTokens = 128;

// The narrowest instruction that holds `tokens` (1 to kMostTokens).
SWITCHYARD_SIMT constexpr int TokenWidth(int tokens) {
  int width = 8;
  while (width < tokens) width *= 2;
  return width;
}

// The 128-byte swizzle of TMA and of the instruction: within an atom the 16-byte chunks of line i
// are exchanged by xor with i. An involution; `offset` counts from a multiple of kAtomBytes.
SWITCHYARD_SIMT constexpr uint32_t Swizzle(uint32_t offset) {
  return offset ^ ((offset >> 3) & 0x70u);
}

// The byte of element k of line `line` of a tile in shared memory: where the copy puts it.
SWITCHYARD_SIMT constexpr uint32_t TileOffset(uint32_t line, uint32_t k) {
  return Swizzle(line * kLineBytes + 2 * k);
}

// Bytes of chunk `chunk` of step `step` that a row of k elements has: 16 but at its end.
SWITCHYARD_SIMT constexpr uint32_t ChunkBytes(int64_t k, int64_t step, int64_t chunk) {
  const int64_t left = 2 * k - step * kLineBytes - chunk * 16;
  return left >= 16 ? 16 : left > 0 ? static_cast<uint32_t>(left) : 0;
}

// The instruction's descriptor of an operand at `address` in shared memory (PTX ISA, "Matrix
// descriptor"): K is the contiguous side; atoms of eight lines follow one another; 128-byte
// swizzle. The hardware swizzles the addresses that it forms, so 16 k further on is 32 bytes
// further on.
SWITCHYARD_SIMT constexpr uint64_t OperandDescriptor(uint32_t address) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kAtomStride = uint64_t{kAtomBytes / 16} << 32;
  constexpr uint64_t kUnusedStride = uint64_t{1} << 16;  // of swizzled operands: must be 1
  return kSwizzle128 | kAtomStride | kUnusedStride | (address & 0x3ffffu) >> 4;
}

inline constexpr uint64_t kDescriptorStep = kInstructionDepth * 2 / 16;
inline constexpr uint64_t kDescriptorHalf = kInstructionRows * kLineBytes / 16;

// A thread's registers of one accumulator of `width` columns (PTX ISA, "wgmma D fragment"):
// register 4 j + 2 h + c of lane l of warp w is row 16 w + 8 h + l / 4, column 8 j + 2 (l % 4) + c.
// So a thread has two rows of each of the block's two instructions.
SWITCHYARD_SIMT constexpr int FragmentColumn(int lane, int group, int c) {
  return 8 * group + 2 * (lane % 4) + c;
}

// The first output of a thread of a warpgroup in a packed tile; the next one is its too. A warp's
// store of one token is contiguous: 32 bytes of bf16.
SWITCHYARD_SIMT constexpr int FirstFeatureOfThread(int thread) {
  return 16 * (thread / 32) + 2 * (thread % 32 / 4);
}

SWITCHYARD_SIMT constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The weights of one product as the kernel walks them: blocks of two packed tiles, of one matrix or
// one of each of a pair. A block may name a tile behind the matrix's last: it reads as zero.
struct ProductShape {
  int64_t features;  // of each matrix
  int64_t k;
  bool paired;

  SWITCHYARD_SIMT constexpr int64_t block_features() const {
    return paired ? kInstructionRows : kBlockRows;
  }
  SWITCHYARD_SIMT constexpr int64_t blocks() const { return CeilDiv(features, block_features()); }
  SWITCHYARD_SIMT constexpr int64_t steps() const { return CeilDiv(k, kStepDepth); }
  // Which tile of its matrix half `half` of a block is.
  SWITCHYARD_SIMT constexpr int64_t row_tile(int64_t block, int half) const {
    return paired ? block : 2 * block + half;
  }
};

// Elements between rows of bf16 of which each can be the start of copies of 16 bytes.
SWITCHYARD_SIMT constexpr int64_t RowStride(int64_t elements) { return CeilDiv(elements, 8) * 8; }

// Shared memory of a block of threads: the stages of the pipeline, each the weights of its
// warpgroups and then the tokens, and behind them two barriers a stage. Counted from a multiple of
// kAtomBytes.
struct SharedLayout {
  int warpgroups;  // that multiply
  int width;       // tokens that a stage has room for
  int stages;

  SWITCHYARD_SIMT constexpr uint32_t stage_bytes() const {
    return static_cast<uint32_t>(warpgroups * kBlockBytes + width * kLineBytes);
  }
  SWITCHYARD_SIMT constexpr uint32_t weights(int stage, int warpgroup) const {
    return static_cast<uint32_t>(stage) * stage_bytes() +
           static_cast<uint32_t>(warpgroup) * kBlockBytes;
  }
  SWITCHYARD_SIMT constexpr uint32_t tokens(int stage) const { return weights(stage, warpgroups); }
  SWITCHYARD_SIMT constexpr uint32_t full(int stage) const {
    return static_cast<uint32_t>(stages) * stage_bytes() + 8 * static_cast<uint32_t>(stage);
  }
  SWITCHYARD_SIMT constexpr uint32_t empty(int stage) const { return full(stages + stage); }
  // To ask for: dynamic shared memory need not start at a multiple of kAtomBytes.
  SWITCHYARD_SIMT constexpr uint32_t bytes() const { return full(2 * stages) + kAtomBytes; }
};

}  // namespace switchyard::kernels::grouped
