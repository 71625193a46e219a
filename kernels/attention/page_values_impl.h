// Values that a layout has in its keys (MLA), brought into the order of values: included by
// attention_impl.h only. Once a block, for all queries of a tile.

#include <cstdint>

#include "kernels/attention/attention.h"
#include "kernels/base/simd.h"

namespace switchyard::kernels::SWITCHYARD_SIMD {
namespace {

template <typename T>
struct Row16;
template <>
struct Row16<float> {
  using Type [[gnu::vector_size(64)]] = float;
};
template <>
struct Row16<uint16_t> {
  using Type [[gnu::vector_size(32)]] = uint16_t;
};

// Four rounds of interleaving row i with row i + 8 transpose 16 rows of 16.
template <typename T>
SWITCHYARD_INLINE void InterleaveHalves(const T (&from)[16], T (&to)[16]) {
  for (int i = 0; i < 8; ++i) {
    to[2 * i] = __builtin_shufflevector(from[i], from[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5,
                                        21, 6, 22, 7, 23);
    to[2 * i + 1] = __builtin_shufflevector(from[i], from[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12,
                                            28, 13, 29, 14, 30, 15, 31);
  }
}

// keys: [at least value_dim][16]; values: [16][value_dim].
template <typename T>
void ValuesOfPage(const T* keys, int64_t value_dim, T* values) {
  using Row = typename Row16<T>::Type;
  int64_t d = 0;
  for (; d + 16 <= value_dim; d += 16) {
    Row a[16], b[16];
    __builtin_memcpy(a, keys + d * 16, sizeof(a));
    InterleaveHalves(a, b);
    InterleaveHalves(b, a);
    InterleaveHalves(a, b);
    InterleaveHalves(b, a);
    for (int j = 0; j < 16; ++j) __builtin_memcpy(values + j * value_dim + d, &a[j], sizeof(Row));
  }
  for (; d < value_dim; ++d) {
    for (int j = 0; j < 16; ++j) values[j * value_dim + d] = keys[d * 16 + j];
  }
}

}  // namespace
}  // namespace switchyard::kernels::SWITCHYARD_SIMD
