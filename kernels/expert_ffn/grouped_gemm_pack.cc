#include "kernels/expert_ffn/grouped_gemm_pack.h"

#include <algorithm>
#include <cstring>

#include "kernels/base/bf16.h"

namespace switchyard::kernels::grouped {
namespace {

// `count` elements of row `feature` from k on, and zeros up to a line's end.
void PackLine(const SourceMatrix& source, int64_t index, int64_t count, uint16_t* line) {
  if (source.type == DType::kBfloat16) {
    std::memcpy(line, static_cast<const uint16_t*>(source.data) + index,
                static_cast<size_t>(count) * sizeof(uint16_t));
  } else {
    std::transform(static_cast<const float*>(source.data) + index,
                   static_cast<const float*>(source.data) + index + count, line, FloatToBf16);
  }
  std::fill(line + count, line + kStepDepth, uint16_t{0});
}

}  // namespace

void PackBlocks(const PackedShape& shape, const SourceMatrix& first, const SourceMatrix& second,
                int64_t begin, int64_t end, uint16_t* packed) {
  for (int64_t block = begin; block < end; ++block) {
    for (int row = 0; row < kBlockRows; ++row) {
      const PackedRow packed_row = RowOfBlock(shape.paired, row);
      const int64_t feature = block * shape.block_features() + packed_row.feature;
      const SourceMatrix& source = packed_row.matrix == 0 ? first : second;
      for (int64_t step = 0; step < shape.steps(); ++step) {
        uint16_t* const line = packed + (shape.line(block, step) + row) * kStepDepth;
        const int64_t k = step * kStepDepth;
        const int64_t count =
            feature < shape.features ? std::min<int64_t>(kStepDepth, shape.k - k) : 0;
        PackLine(source, count == 0 ? 0 : feature * shape.k + k, count, line);
      }
    }
  }
}

}  // namespace switchyard::kernels::grouped
