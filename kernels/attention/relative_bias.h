#pragma once

// Relative position bias as T5 has it: a learned number for each head and each bucket of distances
// between query and key, added to the score. Distances up to half the buckets have a bucket each,
// larger ones share buckets whose width grows with the logarithm; from max_distance on all share
// the last.

#include <algorithm>
#include <cstdint>
#include <span>

#include "kernels/base/memory.h"

namespace switchyard::kernels {

struct RelativeBuckets {
  int64_t buckets = 32;
  int64_t max_distance = 128;  // more than half of a direction's buckets
  // Half of the buckets are for keys after the query (an encoder). Otherwise such keys share the
  // bucket of distance 0: a causal row never sees one.
  bool bidirectional = false;
};

// Bucket of a key `offset` = key position - query position away. With B the buckets of one
// direction, E = B / 2 and n the distance: n below E, else E + floor(log(n / E) /
// log(max_distance / E) * (B - E)) in fp32, the logarithms correctly rounded, at most B - 1.
int64_t RelativeBucket(const RelativeBuckets& buckets, int64_t offset);

// What Attention reads: values[head * head_stride + offset] for |offset| <= reach + kMargin. Beyond
// `reach` all offsets of one side have the same value; the margin lets a vector of 16 keys be read
// in one load, moved back to the margin where it lies farther out.
struct RelativeBiasTable {
  static constexpr int64_t kMargin = 16;
  const float* values = nullptr;
  int64_t head_stride = 0;
  int64_t reach = 0;

  [[gnu::always_inline]] constexpr float At(int64_t head, int64_t offset) const {
    const int64_t outermost = reach + kMargin;
    return values[head * head_stride + std::clamp(offset, -outermost, outermost)];
  }
};

// The bias of each head by offset, spelled out. Built once when weights are loaded.
class RelativeBias {
 public:
  // weights: [buckets][heads], as checkpoints store them.
  RelativeBias(const RelativeBuckets& buckets, std::span<const float> weights);

  // Points into this object.
  RelativeBiasTable table() const;

 private:
  int64_t reach_;
  int64_t stride_;
  Floats values_;
};

}  // namespace switchyard::kernels
