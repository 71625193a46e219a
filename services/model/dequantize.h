#pragma once

// Quantised weights as fp32. Whoever reads rows of a matrix gives the bytes of these rows only.

#include <cstdint>

namespace switchyard::model {

// FP8 E4M3 without infinities: bias 7, subnormals, 0x7f and 0xff are NaN.
float Fp8E4m3ToFloat(uint8_t bits);

inline constexpr int64_t kFp8Block = 128;  // rows and columns that share a scale
constexpr int64_t Fp8Blocks(int64_t extent) { return (extent + kFp8Block - 1) / kFp8Block; }

// Rows [first_row, first_row + rows) of a matrix with `columns` columns, times the scale of their
// blocks; blocks count from the matrix's first row and column, and the last ones are cut.
// `scales`: the rows of the grid from that of `first_row`, Fp8Blocks(columns) wide.
void DequantizeFp8(const uint8_t* weights, const float* scales, int64_t first_row, int64_t rows,
                   int64_t columns, float* values);

inline constexpr int64_t kMxfp4Block = 32;  // elements of a row that share a scale

// MXFP4: two E2M1 numbers a byte, the low nibble first, times 2^(scale byte - 127).
// `columns` is a multiple of kMxfp4Block.
void DequantizeMxfp4(const uint8_t* blocks, const uint8_t* scales, int64_t rows, int64_t columns,
                     float* values);

}  // namespace switchyard::model
