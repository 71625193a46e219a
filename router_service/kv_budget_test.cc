#include "router_service/kv_budget.h"

#include "gtest/gtest.h"
#include "services/model/random_checkpoint.h"

namespace switchyard::router {
namespace {

// A page of a layer: 2 (k, v) x 1 head x 16 x 16 positions x 2 bytes = 1 KiB in bf16.
model::ModelSpec Spec() {
  return model::MixtralSpec({.hidden = 64,
                             .intermediate = 64,
                             .layers = 4,
                             .heads = 4,
                             .kv_heads = 1,
                             .head_dim = 16,
                             .experts = 4,
                             .top_k = 2,
                             .vocabulary = 100,
                             .max_positions = 1600});
}

TEST(KvBudgetTest, GivesLargeMachinesWhatTheyCanUse) {
  EXPECT_EQ(DefaultKvPages(Spec(), /*mtp=*/false, kernels::NumericsClass::kBf16, int64_t{1} << 40),
            64 * 100);
}

TEST(KvBudgetTest, TakesAQuarterOfSmallMachines) {
  EXPECT_EQ(DefaultKvPages(Spec(), /*mtp=*/false, kernels::NumericsClass::kBf16, 1 << 20),
            (1 << 20) / 4 / 4096);
  EXPECT_EQ(DefaultKvPages(Spec(), /*mtp=*/false, kernels::NumericsClass::kFp32, 1 << 20),
            (1 << 20) / 4 / 8192);
}

TEST(KvBudgetTest, GivesAPageAtTheLeast) {
  EXPECT_EQ(DefaultKvPages(Spec(), /*mtp=*/false, kernels::NumericsClass::kBf16, 1), 1);
}

}  // namespace
}  // namespace switchyard::router
