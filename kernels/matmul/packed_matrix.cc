#include <algorithm>
#include <cstring>

#include "kernels/base/bf16.h"
#include "kernels/matmul/matmul.h"

namespace switchyard::kernels {
namespace {

constexpr int64_t kPanel = PackedMatrix::kPanel;

// In class bf16 a "word" is a pair of k, in class fp32 one k: 16 words of 4 bytes make a line.
int64_t LinesOfPanel(NumericsClass numerics, int64_t k) {
  return numerics == NumericsClass::kFp32 ? k : (k + 1) / 2;
}

int64_t BytesOfPanel(NumericsClass numerics, int64_t k) {
  return LinesOfPanel(numerics, k) * PackedMatrix::kPanel * static_cast<int64_t>(sizeof(uint32_t));
}

// The words of one row, `line` counted from its start. In memory a pair of bf16 is already a word.
template <bool kPairs, DType kType>
uint32_t ReadWord(const char* row, int64_t line) {
  if constexpr (kType == DType::kFloat32 && kPairs) {
    float pair[2];
    std::memcpy(pair, row + line * 8, sizeof(pair));
    return FloatToBf16(pair[0]) | static_cast<uint32_t>(FloatToBf16(pair[1])) << 16;
  } else if constexpr (kType == DType::kBfloat16 && !kPairs) {
    uint16_t half;
    std::memcpy(&half, row + line * 2, sizeof(half));
    return static_cast<uint32_t>(half) << 16;
  } else {
    uint32_t word;
    std::memcpy(&word, row + line * 4, sizeof(word));
    return word;
  }
}

// The odd last k of a row in class bf16, paired with zero.
uint32_t ReadLastHalf(const char* row, DType type, int64_t k) {
  uint16_t half;
  if (type == DType::kBfloat16) {
    std::memcpy(&half, row + (k - 1) * 2, sizeof(half));
    return half;
  }
  float value;
  std::memcpy(&value, row + (k - 1) * 4, sizeof(value));
  return FloatToBf16(value);
}

// Writes rows [begin, end) of one panel, taken from `source`. In blocks of 16 lines, so that each
// cache line of a row is read once and the 1 KB written stays in the first-level cache.
template <bool kPairs, DType kType>
void PackPanel(const char* source, int64_t k, int64_t begin, int64_t end, uint32_t* words) {
  constexpr int64_t kBlock = 16;
  const int64_t row_bytes = k * static_cast<int64_t>(SizeOf(kType));
  const int64_t lines = kPairs ? k / 2 : k;
  for (int64_t first = 0; first < lines; first += kBlock) {
    const int64_t count = std::min(kBlock, lines - first);
    const char* row = source;
    for (int64_t r = begin; r < end; ++r, row += row_bytes) {
      uint32_t* column = words + first * kPanel + r;
      for (int64_t i = 0; i < count; ++i) {
        column[i * kPanel] = ReadWord<kPairs, kType>(row, first + i);
      }
    }
  }
  if (!kPairs || k % 2 == 0) return;
  for (int64_t r = begin; r < end; ++r) {
    words[lines * kPanel + r] = ReadLastHalf(source + (r - begin) * row_bytes, kType, k);
  }
}

// `count` elements of `source` from `first` on, and zeros up to the end of a line of a tile.
void PackLine(const void* source, DType type, int64_t first, int64_t count, uint16_t* line) {
  if (count == 0) {
    // Behind the last row: there is no source.
  } else if (type == DType::kBfloat16) {
    std::copy_n(static_cast<const uint16_t*>(source) + first, count, line);
  } else {
    const float* const from = static_cast<const float*>(source) + first;
    std::transform(from, from + count, line, FloatToBf16);
  }
  std::fill(line + count, line + TileLayout::kDepth, uint16_t{0});
}

}  // namespace

PackedMatrix::PackedMatrix(NumericsClass numerics, int64_t n, int64_t k)
    : numerics_(numerics), n_(n), k_(k) {
  buffer_ = Buffer(static_cast<size_t>(BytesOf(numerics, n, k)));
}

int64_t PackedMatrix::BytesOf(NumericsClass numerics, int64_t n, int64_t k) {
  if (numerics == NumericsClass::kBf16Sm90) return TileLayout{.n = n, .k = k}.bytes();
  return (n + kPanel - 1) / kPanel * BytesOfPanel(numerics, k);
}

int64_t PackedMatrix::panel_bytes() const { return BytesOfPanel(numerics_, k_); }

const void* PackedMatrix::panel(int64_t index) const {
  return buffer_.As<char>() + index * panel_bytes();
}

void PackedMatrix::PackRows(int64_t first_row, int64_t rows, const void* source, DType type) {
  if (numerics_ == NumericsClass::kBf16Sm90) return PackTiles(first_row, rows, source, type);
  const int64_t lines = LinesOfPanel(numerics_, k_);
  const bool pairs = numerics_ != NumericsClass::kFp32;
  const auto pack =
      type == DType::kFloat32
          ? (pairs ? PackPanel<true, DType::kFloat32> : PackPanel<false, DType::kFloat32>)
          : (pairs ? PackPanel<true, DType::kBfloat16> : PackPanel<false, DType::kBfloat16>);
  const char* bytes = static_cast<const char*>(source);
  const int64_t end_row = first_row + rows;
  for (int64_t row = first_row; row < end_row;) {
    uint32_t* words = buffer_.As<uint32_t>() + (row / kPanel) * lines * kPanel;
    const int64_t begin = row % kPanel;
    const int64_t end = std::min(kPanel, begin + end_row - row);
    pack(bytes, k_, begin, end, words);
    row += end - begin;
    bytes += (end - begin) * k_ * static_cast<int64_t>(SizeOf(type));
    if (row < n_ || end == kPanel) continue;
    // The last panel is written in full: its tail outputs are zero.
    for (int64_t line = 0; line < lines; ++line) {
      std::fill(words + line * kPanel + end, words + (line + 1) * kPanel, 0u);
    }
  }
}

void PackedMatrix::PackTiles(int64_t first_row, int64_t rows, const void* source, DType type) {
  const TileLayout layout = tiles();
  auto* const packed = buffer_.As<uint16_t>();
  // Who packs the last row fills the tile up.
  const bool last = first_row + rows == n_;
  const int64_t end = last ? layout.row_tiles() * TileLayout::kRows : first_row + rows;
  for (int64_t row = first_row; row < end; ++row) {
    const int64_t from = (row - first_row) * k_;
    for (int64_t k = 0; k < k_; k += TileLayout::kDepth) {
      const int64_t count = row < n_ ? std::min<int64_t>(TileLayout::kDepth, k_ - k) : 0;
      PackLine(source, type, from + k, count, packed + layout.ElementAt(row, k));
    }
  }
}

float PackedMatrix::At(int64_t row, int64_t column) const {
  if (numerics_ == NumericsClass::kBf16Sm90) {
    return Bf16ToFloat(buffer_.As<uint16_t>()[tiles().ElementAt(row, column)]);
  }
  const int64_t line = numerics_ == NumericsClass::kFp32 ? column : column / 2;
  const uint32_t word =
      buffer_.As<uint32_t>()[((row / kPanel) * LinesOfPanel(numerics_, k_) + line) * kPanel +
                             row % kPanel];
  if (numerics_ == NumericsClass::kFp32) return std::bit_cast<float>(word);
  return Bf16ToFloat(static_cast<uint16_t>(column % 2 == 0 ? word : word >> 16));
}

}  // namespace switchyard::kernels
