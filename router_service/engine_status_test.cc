#include "router_service/engine_status.h"

#include "gtest/gtest.h"

namespace switchyard::router {
namespace {

constexpr Duration kInterval = std::chrono::seconds(5);

TEST(StatusLineTest, TellsWhatWasDoneSinceTheLastOne) {
  StatusLine line(TimePoint{}, kInterval);
  EngineStatus status = {.running = 2,
                         .waiting = 1,
                         .kv_pages_used = 3,
                         .kv_pages_total = 12,
                         .prompt_tokens = 100,
                         .generated_tokens = 20};
  EXPECT_EQ(line.Next(TimePoint{} + kInterval / 2, status), std::nullopt);
  EXPECT_EQ(
      line.Next(TimePoint{} + kInterval, status),
      "4.0 tokens/s generated, 20.0 tokens/s of prompts, 2 running, 1 waiting, KV 25.0% used");
  status.generated_tokens += 5;
  status.draft_tokens = 8;
  status.accepted_draft_tokens = 2;
  EXPECT_EQ(line.Next(TimePoint{} + 3 * kInterval / 2, status), std::nullopt);
  EXPECT_EQ(line.Next(TimePoint{} + 2 * kInterval, status),
            "1.0 tokens/s generated, 0.0 tokens/s of prompts, 2 running, 1 waiting, KV 25.0% used, "
            "25.0% of 8 drafts accepted");
}

TEST(StatusLineTest, IsSilentWhenIdle) {
  StatusLine line(TimePoint{}, kInterval);
  EXPECT_EQ(line.Next(TimePoint{} + kInterval, {.kv_pages_total = 1}), std::nullopt);
  EXPECT_TRUE(line.Next(TimePoint{} + 2 * kInterval, {.waiting = 1, .kv_pages_total = 1}));
}

}  // namespace
}  // namespace switchyard::router
