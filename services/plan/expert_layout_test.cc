#include "services/plan/expert_layout.h"

#include <gtest/gtest.h>

namespace switchyard::plan {
namespace {

// 8 experts of 10 bytes in two layers; a host needs 5 bytes besides.
ExpertDemand Demand(int64_t replicas) {
  return {.layers = 2, .experts = 4, .expert_bytes = 10, .channel_bytes = 5, .replicas = replicas};
}

TEST(ExpertLayoutTest, EqualHostsShareEqually) {
  const ExpertLayout layout = PlaceExperts(Demand(1), {100, 100});
  EXPECT_TRUE(layout.fits());
  for (const HostShare& host : layout.hosts) {
    EXPECT_EQ(host.capacity, 8);
    EXPECT_EQ(host.experts, 4);
    EXPECT_EQ(host.used, 45);
  }
}

TEST(ExpertLayoutTest, ASmallHostTakesWhatItCan) {
  const ExpertLayout layout = PlaceExperts(Demand(1), {24, 100});
  EXPECT_TRUE(layout.fits());
  EXPECT_EQ(layout.hosts[0].experts, 1);
  EXPECT_EQ(layout.hosts[1].experts, 7);
}

TEST(ExpertLayoutTest, WhatDoesNotFitIsCounted) {
  const ExpertLayout layout = PlaceExperts(Demand(1), {35, 35});
  EXPECT_FALSE(layout.fits());
  EXPECT_EQ(layout.missing, 2);
  EXPECT_EQ(layout.hosts[0].experts, 0);
}

TEST(ExpertLayoutTest, ReplicasNeedRoomAndHosts) {
  EXPECT_TRUE(PlaceExperts(Demand(2), {85, 85}).fits());
  EXPECT_EQ(PlaceExperts(Demand(2), {85, 75}).short_of_replicas, 1);
  EXPECT_EQ(PlaceExperts(Demand(2), {1000}).short_of_replicas, 8);
}

TEST(ExpertLayoutTest, FewestHosts) {
  EXPECT_EQ(FewestHosts(Demand(1), 35), 3);
  EXPECT_EQ(FewestHosts(Demand(2), 35), 6);
  EXPECT_EQ(FewestHosts(Demand(3), 1000), 3);
  EXPECT_EQ(FewestHosts(Demand(1), 14), 0);
  EXPECT_EQ(FewestHosts(Demand(1), 4), 0);
}

// The smallest number is one that fits, and one less does not.
TEST(ExpertLayoutTest, FewestHostsAgreesWithThePlacement) {
  for (const int64_t replicas : {1, 2, 3}) {
    for (const int64_t memory : {15, 26, 47, 98}) {
      const int64_t fewest = FewestHosts(Demand(replicas), memory);
      const auto fits = [&](int64_t hosts) {
        return PlaceExperts(Demand(replicas),
                            std::vector<int64_t>(static_cast<size_t>(hosts), memory))
            .fits();
      };
      EXPECT_TRUE(fits(fewest)) << replicas << " " << memory;
      EXPECT_FALSE(fits(fewest - 1)) << replicas << " " << memory;
    }
  }
}

}  // namespace
}  // namespace switchyard::plan
