#include "expert_service/expert_loader.h"

#include <unistd.h>

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "services/model/random_checkpoint.h"

namespace switchyard::expert {
namespace {

constexpr kernels::NumericsClass kClass = kernels::NumericsClass::kFp32;

model::Checkpoint RandomCheckpoint() {
  const std::string folder =
      ::testing::TempDir() + "/expert_loader_test." + std::to_string(getpid());
  const model::ModelSpec spec = model::MixtralSpec({.hidden = 32,
                                                    .intermediate = 32,
                                                    .layers = 1,
                                                    .heads = 4,
                                                    .kv_heads = 2,
                                                    .head_dim = 8,
                                                    .experts = 4,
                                                    .top_k = 2,
                                                    .vocabulary = 96});
  kernels::ThreadPool pool(1);
  EXPECT_TRUE(model::WriteRandomCheckpoint(spec, 5, folder, pool).ok());
  return *model::Checkpoint::Open(folder);
}

TEST(ExpertLoaderTest, StopsBetweenExpertsAndKeepsWhatItHas) {
  const model::Checkpoint checkpoint = RandomCheckpoint();
  ExpertStore store;
  ExpertLoader loader(checkpoint, kClass, store, [] { return false; });
  const std::vector<ExpertId> ids = {{0, 0}, {0, 1}, {0, 2}, {0, 3}};
  int asked = 0;
  const absl::Status cancelled = loader.Load(ids, TimePoint::max(), [&] { return ++asked > 2; });
  EXPECT_TRUE(absl::IsCancelled(cancelled)) << cancelled;
  EXPECT_EQ(cancelled.message(), "loading stopped before layer 0, expert 2");
  EXPECT_EQ(store.Snapshot()->size(), 2u);
  const absl::Status late = loader.Load(ids, Clock::Real().Now(), [] { return false; });
  EXPECT_TRUE(absl::IsDeadlineExceeded(late)) << late;
  EXPECT_TRUE(loader.Load(ids, TimePoint::max(), [] { return false; }).ok());
  EXPECT_EQ(store.Snapshot()->size(), 4u);
}

}  // namespace
}  // namespace switchyard::expert
