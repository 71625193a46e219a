#include "gateway/metrics.h"

#include <gtest/gtest.h>

namespace switchyard::gateway {
namespace {

WorkerReport Report(const std::string& name, uint64_t queries) {
  WorkerReport report{.name = name, .alive = true};
  report.status.set_kv_pages_used(1);
  report.status.set_kv_pages_total(2);
  report.status.set_prefix_cache_queries(queries);
  return report;
}

TEST(MetricsTest, AWorkerThatLeftHasNoGauges) {
  Metrics metrics;
  std::string text = metrics.Render({Report("router-0", 5), Report("router-1", 7)});
  EXPECT_NE(text.find("switchyard_router_worker_up{worker=\"router-1\"} 1"), std::string::npos);
  text = metrics.Render({Report("router-0", 5)});
  EXPECT_EQ(text.find("router-1"), std::string::npos) << text;
  EXPECT_NE(text.find("switchyard_kv_cache_usage_ratio{worker=\"router-0\"} 0.5"),
            std::string::npos);
  // What it counted stays, and is not counted twice when it comes back.
  text = metrics.Render({Report("router-0", 5), Report("router-1", 8)});
  EXPECT_NE(text.find("switchyard_prefix_cache_queries_total 13"), std::string::npos) << text;
  EXPECT_NE(text.find("switchyard_router_worker_up{worker=\"router-1\"} 1"), std::string::npos);
}

TEST(MetricsTest, CountsDraftsOfAllWorkers) {
  Metrics metrics;
  WorkerReport report = Report("router-0", 0);
  report.status.set_draft_tokens(10);
  report.status.set_accepted_draft_tokens(4);
  WorkerReport other = report;
  other.name = "router-1";
  const std::string text = metrics.Render({report, other});
  EXPECT_NE(text.find("switchyard_spec_decode_num_draft_tokens_total 20"), std::string::npos);
  EXPECT_NE(text.find("switchyard_spec_decode_num_accepted_tokens_total 8"), std::string::npos);
}

}  // namespace
}  // namespace switchyard::gateway
