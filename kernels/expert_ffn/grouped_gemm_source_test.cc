#include "kernels/expert_ffn/grouped_gemm_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace switchyard::kernels::grouped {
namespace {

using ::testing::HasSubstr;

class CheckSourceTest : public ::testing::Test {
 protected:
  std::string Message() const {
    const absl::Status status = CheckSource(source_);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  }

  const uint16_t element_ = 0;
  ExpertSource source_{
      .hidden = 16, .intermediate = 5, .gate = {&element_}, .up = {&element_}, .down = {&element_}};
};

TEST_F(CheckSourceTest, TakesBothKinds) {
  EXPECT_TRUE(CheckSource(source_).ok());
  EXPECT_EQ(ShapeOf(source_), (ExpertShape{16, 5, true}));
  source_.up.data = nullptr;
  EXPECT_TRUE(CheckSource(source_).ok());
  EXPECT_EQ(ShapeOf(source_), (ExpertShape{16, 5, false}));
}

TEST_F(CheckSourceTest, RowsMustBeOfWholeChunks) {
  source_.hidden = 20;
  EXPECT_THAT(Message(), HasSubstr("multiple of 8"));
}

TEST_F(CheckSourceTest, SizesMustBePositive) {
  source_.intermediate = 0;
  EXPECT_THAT(Message(), HasSubstr("intermediate size 0"));
}

TEST_F(CheckSourceTest, MatricesMustBeThere) {
  source_.down.data = nullptr;
  EXPECT_THAT(Message(), HasSubstr("down matrix"));
}

TEST_F(CheckSourceTest, ClampedSwiGluIsGated) {
  source_.activation = Activation::kClampedSwiGlu;
  EXPECT_TRUE(CheckSource(source_).ok());
  source_.up.data = nullptr;
  EXPECT_THAT(Message(), HasSubstr("up matrix"));
}

TEST_F(CheckSourceTest, BiasesAreAsLongAsTheirMatrix) {
  const std::vector<float> bias(16);
  source_.down_bias = bias;
  EXPECT_TRUE(CheckSource(source_).ok());
  source_.gate_bias = bias;
  EXPECT_THAT(Message(), HasSubstr("gate_bias has 16 elements; its matrix has 5"));
}

TEST_F(CheckSourceTest, AMatrixOfTooManyLinesIsRefused) {
  source_.hidden = 1 << 20;
  source_.intermediate = 1 << 20;
  EXPECT_THAT(Message(), HasSubstr("tensor map"));
}

TEST(CheckRowsTest, RowsMustBeAligned) {
  alignas(16) char memory[64];
  std::vector<ExpertRow> rows = {{memory, memory + 16, 1.0f}, {memory + 32, memory + 48, 1.0f}};
  EXPECT_TRUE(CheckRows(rows).ok());
  rows[1].input = memory + 34;
  EXPECT_THAT(std::string(CheckRows(rows).message()), HasSubstr("row 1"));
  rows[1].input = memory + 32;
  rows[1].output = memory + 56;
  EXPECT_EQ(CheckRows(rows).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace switchyard::kernels::grouped
