#include "kernels/embedding/embedding.h"

#include <cstring>

#include "kernels/base/bf16.h"

namespace switchyard::kernels {

void Embedding(const EmbeddingArgs& args) {
  for (int64_t row = 0; row < args.rows; ++row) {
    const int64_t first = int64_t{args.ids[row]} * args.width;
    float* output = args.output + row * args.width;
    if (args.type == DType::kFloat32) {
      std::memcpy(output, static_cast<const float*>(args.table) + first,
                  static_cast<size_t>(args.width) * sizeof(float));
      continue;
    }
    const uint16_t* from = static_cast<const uint16_t*>(args.table) + first;
    for (int64_t i = 0; i < args.width; ++i) output[i] = Bf16ToFloat(from[i]);
  }
}

}  // namespace switchyard::kernels
