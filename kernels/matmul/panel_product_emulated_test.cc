// The AVX-512 and AVX-512-BF16 panel kernels, emulated, against the reference: so they are tested
// on machines that cannot run them.

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "kernels/base/simd_emulated.h"
#include "kernels/matmul/dot_bf16_lines.h"
#include "kernels/matmul/matmul.h"
#include "kernels/matmul/panel_product.h"

namespace switchyard::kernels {
namespace {

namespace simd = SWITCHYARD_SIMD;

const PanelKernel kFp32 = {DType::kFloat32, simd::PanelProduct<simd::Fp32Lines, 12>,
                           simd::CopyRow<float>};
const PanelKernel kWidened = {DType::kFloat32, simd::PanelProduct<simd::WidenedBf16Lines, 12>,
                              simd::WidenRow};
const PanelKernel kDot = {DType::kBfloat16, simd::PanelProduct<simd::DotBf16Lines, 12>,
                          simd::CopyRow<uint16_t>};

void ExpectEqualsReference(const PanelKernel& kernel, NumericsClass numerics, int64_t m,
                           int64_t k) {
  constexpr int64_t kPanel = PackedMatrix::kPanel;
  std::mt19937 random(static_cast<uint32_t>(m * 10007 + k));
  std::normal_distribution<float> normal;
  std::vector<float> weights(static_cast<size_t>(kPanel * k)), x(static_cast<size_t>(m * k));
  for (float& value : weights) value = normal(random);
  for (float& value : x) value = normal(random);
  std::vector<uint16_t> x_bf16;
  for (float value : x) x_bf16.push_back(FloatToBf16(value));
  PackedMatrix w(numerics, kPanel, k);
  w.PackRows(0, kPanel, weights.data(), DType::kFloat32);
  const bool fp32 = numerics == NumericsClass::kFp32;
  const char* wire =
      fp32 ? reinterpret_cast<const char*>(x.data()) : reinterpret_cast<const char*>(x_bf16.data());

  std::vector<float> expected(static_cast<size_t>(m * kPanel)), actual(expected.size());
  MatmulReference(
      {.x = wire, .x_stride = k, .m = m, .w = &w, .y = expected.data(), .y_stride = kPanel});
  const int64_t stride = PanelKernel::RowStride(k) * static_cast<int64_t>(SizeOf(kernel.row_type));
  std::vector<char> prepared(static_cast<size_t>(m * stride), 'x');
  std::vector<const void*> rows;
  for (int64_t i = 0; i < m; ++i) {
    kernel.prepare_row(wire + i * k * static_cast<int64_t>(SizeOf(WireType(numerics))), k,
                       prepared.data() + i * stride);
    rows.push_back(prepared.data() + i * stride);
  }
  kernel.product(rows.data(), m, w.panel(0), k, actual.data());
  EXPECT_EQ(std::memcmp(actual.data(), expected.data(), actual.size() * sizeof(float)), 0)
      << Name(numerics) << " m=" << m << " k=" << k;
}

TEST(PanelProductEmulatedTest, Avx512EqualsReference) {
  for (int64_t k : {1, 31, 33, 257, 300, 768}) {
    for (int64_t m : {1, 2, 3, 11, 12, 13, 25, 96}) {
      ExpectEqualsReference(kFp32, NumericsClass::kFp32, m, k);
      ExpectEqualsReference(kWidened, NumericsClass::kBf16, m, k);
    }
  }
}

TEST(PanelProductEmulatedTest, Avx512Bf16EqualsReference) {
  for (int64_t k : {1, 31, 32, 257, 300, 768}) {
    for (int64_t m : {1, 2, 3, 11, 12, 13, 25, 96}) {
      ExpectEqualsReference(kDot, NumericsClass::kBf16, m, k);
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels
