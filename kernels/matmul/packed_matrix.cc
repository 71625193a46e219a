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

float ReadFloat(const void* source, DType type, int64_t index) {
  return type == DType::kFloat32 ? static_cast<const float*>(source)[index]
                                 : Bf16ToFloat(static_cast<const uint16_t*>(source)[index]);
}

uint16_t ReadBf16(const void* source, DType type, int64_t index) {
  return type == DType::kFloat32 ? FloatToBf16(static_cast<const float*>(source)[index])
                                 : static_cast<const uint16_t*>(source)[index];
}

}  // namespace

PackedMatrix::PackedMatrix(NumericsClass numerics, int64_t n, int64_t k)
    : numerics_(numerics), n_(n), k_(k) {
  buffer_ = Buffer(static_cast<size_t>(panels() * panel_bytes()));
}

int64_t PackedMatrix::panel_bytes() const {
  return LinesOfPanel(numerics_, k_) * kPanel * static_cast<int64_t>(sizeof(uint32_t));
}

const void* PackedMatrix::panel(int64_t index) const {
  return buffer_.As<char>() + index * panel_bytes();
}

void PackedMatrix::PackRows(int64_t first_row, int64_t rows, const void* source, DType type) {
  const int64_t lines = LinesOfPanel(numerics_, k_);
  // The last panel is written in full: its tail outputs are zero.
  const bool last = first_row + rows == n_;
  const int64_t end_row = last ? panels() * kPanel : first_row + rows;
  for (int64_t row = first_row; row < end_row; ++row) {
    const int64_t offset = (row - first_row) * k_;  // of the row in `source`
    uint32_t* words = buffer_.As<uint32_t>() + (row / kPanel) * lines * kPanel + row % kPanel;
    for (int64_t line = 0; line < lines; ++line) {
      uint32_t word = 0;
      if (row >= n_) {
        word = 0;
      } else if (numerics_ == NumericsClass::kFp32) {
        word = std::bit_cast<uint32_t>(ReadFloat(source, type, offset + line));
      } else {
        const int64_t even = 2 * line;
        word = ReadBf16(source, type, offset + even);
        if (even + 1 < k_) {
          word |= static_cast<uint32_t>(ReadBf16(source, type, offset + even + 1)) << 16;
        }
      }
      words[line * kPanel] = word;
    }
  }
}

float PackedMatrix::At(int64_t row, int64_t column) const {
  const int64_t line = numerics_ == NumericsClass::kFp32 ? column : column / 2;
  const uint32_t word =
      buffer_.As<uint32_t>()[((row / kPanel) * LinesOfPanel(numerics_, k_) + line) * kPanel +
                             row % kPanel];
  if (numerics_ == NumericsClass::kFp32) return std::bit_cast<float>(word);
  return Bf16ToFloat(static_cast<uint16_t>(column % 2 == 0 ? word : word >> 16));
}

}  // namespace switchyard::kernels
