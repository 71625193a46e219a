#include "services/placement/placement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace switchyard::placement {
namespace {

std::vector<std::vector<Item>> PerHost(const PlacementResult& result, size_t hosts) {
  std::vector<std::vector<Item>> held(hosts);
  for (Item item = 0; item < result.owners.size(); ++item) {
    for (const uint32_t host : result.owners[item]) held[host].push_back(item);
  }
  return held;
}

// What each host must load that it does not hold.
size_t Loads(const PlacementInput& input, const PlacementResult& result) {
  size_t loads = 0;
  const auto held = PerHost(result, input.hosts.size());
  for (size_t host = 0; host < held.size(); ++host) {
    const std::set<Item> before(input.hosts[host].loaded.begin(), input.hosts[host].loaded.end());
    loads += static_cast<size_t>(std::count_if(held[host].begin(), held[host].end(),
                                               [&](Item item) { return !before.contains(item); }));
  }
  return loads;
}

void Adopt(PlacementInput& input, const PlacementResult& result) {
  auto held = PerHost(result, input.hosts.size());
  for (size_t host = 0; host < held.size(); ++host) input.hosts[host].loaded = held[host];
}

// The rules that hold for any input.
void CheckRules(const PlacementInput& input, const PlacementResult& result) {
  const size_t items = size_t{input.layers} * input.experts_per_layer;
  ASSERT_EQ(result.owners.size(), items);
  std::vector<size_t> used(input.hosts.size());
  for (const std::vector<uint32_t>& owners : result.owners) {
    EXPECT_LE(owners.size(), input.replicas);
    EXPECT_TRUE(std::is_sorted(owners.begin(), owners.end()));
    EXPECT_EQ(std::adjacent_find(owners.begin(), owners.end()), owners.end());
    for (const uint32_t host : owners) ++used.at(host);
  }
  size_t useful_room = 0;  // a host can hold one copy of each item
  for (size_t host = 0; host < used.size(); ++host) {
    EXPECT_LE(used[host], input.hosts[host].capacity);
    useful_room += std::min<size_t>(input.hosts[host].capacity, items);
  }
  const size_t replicas = std::min<size_t>(input.replicas, input.hosts.size());
  if (useful_room >= items) {
    EXPECT_TRUE(result.missing.empty());
  } else {
    EXPECT_EQ(result.missing.size(), items - useful_room);
  }
  if (useful_room >= items * replicas && replicas == input.replicas) {
    EXPECT_TRUE(result.under_replicated.empty());
  }
}

TEST(Placement, SharesEqualHostsEqually) {
  PlacementInput input{
      .layers = 4, .experts_per_layer = 8, .hosts = {{.capacity = 32}, {.capacity = 32}}};
  const PlacementResult result = Place(input);
  CheckRules(input, result);
  for (uint32_t layer = 0; layer < 4; ++layer) {
    size_t first = 0;
    for (uint32_t e = 0; e < 8; ++e) first += result.owners[layer * 8 + e][0] == 0;
    EXPECT_EQ(first, 4u) << "layer " << layer;
  }
}

TEST(Placement, SharesInProportionToSpeed) {
  PlacementInput input{.layers = 2,
                       .experts_per_layer = 12,
                       .hosts = {{.capacity = 24, .speed = 2000}, {.capacity = 24, .speed = 1000}}};
  const auto held = PerHost(Place(input), 2);
  EXPECT_EQ(held[0].size(), 16u);
  EXPECT_EQ(held[1].size(), 8u);
}

TEST(Placement, NoiseInSpeedMovesNothing) {
  PlacementInput input{.layers = 2,
                       .experts_per_layer = 16,
                       .hosts = {{.capacity = 32, .speed = 1000}, {.capacity = 32, .speed = 1000}}};
  Adopt(input, Place(input));
  input.hosts[0].speed = 1130;
  input.hosts[1].speed = 970;
  EXPECT_EQ(Loads(input, Place(input)), 0u);
}

TEST(Placement, MovesNothingForBalanceWhenToldSo) {
  PlacementInput input{.layers = 1,
                       .experts_per_layer = 4,
                       .hosts = {{.capacity = 4, .loaded = {0, 1, 2}}, {.capacity = 4}},
                       .rebalance = false};
  const PlacementResult result = Place(input);
  CheckRules(input, result);
  EXPECT_EQ(Loads(input, result), 1u);
  EXPECT_EQ(result.owners[3], std::vector<uint32_t>{1});
}

TEST(Placement, SeparatesBusyExperts) {
  PlacementInput input{
      .layers = 1, .experts_per_layer = 4, .hosts = {{.capacity = 4}, {.capacity = 4}}};
  input.load = {4000, 4000, 500, 500};
  const PlacementResult result = Place(input);
  EXPECT_NE(result.owners[0], result.owners[1]);
}

TEST(Placement, MovesBusyExpertsApartWhenTheirLoadIsKnown) {
  PlacementInput input{
      .layers = 1,
      .experts_per_layer = 4,
      .hosts = {{.capacity = 4, .loaded = {0, 1}}, {.capacity = 4, .loaded = {2, 3}}}};
  EXPECT_EQ(Loads(input, Place(input)), 0u);
  input.load = {4000, 4000, 500, 500};
  const PlacementResult result = Place(input);
  EXPECT_NE(result.owners[0], result.owners[1]);
}

TEST(Placement, FewRowsCountAsEqualLoad) {
  PlacementInput input{
      .layers = 1,
      .experts_per_layer = 4,
      .hosts = {{.capacity = 4, .loaded = {0, 1}}, {.capacity = 4, .loaded = {2, 3}}}};
  input.load = {40, 40, 0, 0};
  EXPECT_EQ(Loads(input, Place(input)), 0u);
}

TEST(Placement, NewHostTakesItsShareAndNothingElseMoves) {
  PlacementInput input{.layers = 8,
                       .experts_per_layer = 8,
                       .replicas = 2,
                       .hosts = {{.capacity = 128}, {.capacity = 128}, {.capacity = 128}}};
  Adopt(input, Place(input));
  input.hosts.push_back({.capacity = 128});
  const PlacementResult result = Place(input);
  CheckRules(input, result);
  const auto held = PerHost(result, 4);
  EXPECT_EQ(held[3].size(), 8u * 8 * 2 / 4);
  EXPECT_EQ(Loads(input, result), held[3].size());
}

TEST(Placement, NewHostTakesWholeExpertsWhereLayersHaveFewerThanHosts) {
  PlacementInput input{
      .layers = 6, .experts_per_layer = 2, .hosts = {{.capacity = 12}, {.capacity = 12}}};
  Adopt(input, Place(input));
  input.hosts.push_back({.capacity = 12});
  const PlacementResult result = Place(input);
  EXPECT_EQ(PerHost(result, 3)[2].size(), 4u);
  EXPECT_EQ(Loads(input, result), 4u);
}

TEST(Placement, SmallHostTakesSomeOfEveryLayer) {
  PlacementInput input{.layers = 4, .experts_per_layer = 8, .hosts = {{.capacity = 32}}};
  Adopt(input, Place(input));
  input.hosts.push_back({.capacity = 8});
  const auto held = PerHost(Place(input), 2);
  ASSERT_EQ(held[1].size(), 8u);
  for (uint32_t layer = 0; layer < 4; ++layer) {
    EXPECT_EQ(
        std::count_if(held[1].begin(), held[1].end(), [&](Item item) { return item / 8 == layer; }),
        2);
  }
}

TEST(Placement, LostHostCostsOnlyItsOwnExperts) {
  PlacementInput input{
      .layers = 8,
      .experts_per_layer = 8,
      .hosts = {{.capacity = 64}, {.capacity = 64}, {.capacity = 64}, {.capacity = 64}}};
  Adopt(input, Place(input));
  const size_t lost = input.hosts[1].loaded.size();
  input.hosts.erase(input.hosts.begin() + 1);
  const PlacementResult result = Place(input);
  CheckRules(input, result);
  EXPECT_EQ(Loads(input, result), lost);
}

TEST(Placement, ReturnedHostKeepsWhatItHolds) {
  PlacementInput input{.layers = 2,
                       .experts_per_layer = 4,
                       .replicas = 2,
                       .hosts = {{.capacity = 8}, {.capacity = 8}}};
  Adopt(input, Place(input));
  EXPECT_EQ(Loads(input, Place(input)), 0u);
}

TEST(Placement, SaysWhatIsMissingWhenCapacityIsShort) {
  PlacementInput input{
      .layers = 2, .experts_per_layer = 4, .hosts = {{.capacity = 3}, {.capacity = 2}}};
  const PlacementResult result = Place(input);
  CheckRules(input, result);
  EXPECT_EQ(result.missing.size(), 3u);
}

TEST(Placement, SecondOwnersGiveWayToFirstOnes) {
  PlacementInput input{
      .layers = 1,
      .experts_per_layer = 4,
      .replicas = 2,
      .hosts = {{.capacity = 2, .loaded = {0, 1}}, {.capacity = 2, .loaded = {0, 1}}}};
  const PlacementResult result = Place(input);
  CheckRules(input, result);
  EXPECT_TRUE(result.missing.empty());
  EXPECT_EQ(result.under_replicated.size(), 4u);
}

TEST(Placement, NoHostsAndNoLayers) {
  EXPECT_EQ(Place({.layers = 2, .experts_per_layer = 3}).missing.size(), 6u);
  EXPECT_TRUE(Place({.hosts = {{.capacity = 4}}}).owners.empty());
}

TEST(Placement, IgnoresLoadedExpertsThatTheModelDoesNotHave) {
  PlacementInput input{
      .layers = 1, .experts_per_layer = 2, .hosts = {{.capacity = 2, .loaded = {7, 1, 1}}}};
  CheckRules(input, Place(input));
}

// Hosts come and go at random; whatever happens, the rules hold, a second look changes nothing, and
// no more is loaded than was lost or belongs to a newcomer.
class RandomPools : public testing::TestWithParam<uint32_t> {};

TEST_P(RandomPools, JoinsAndLeaves) {
  std::mt19937 random(GetParam());
  auto pick = [&](uint32_t low, uint32_t high) {
    return std::uniform_int_distribution<uint32_t>(low, high)(random);
  };
  PlacementInput input{
      .layers = pick(1, 6), .experts_per_layer = pick(1, 16), .replicas = pick(1, 3)};
  const uint32_t items = input.layers * input.experts_per_layer;
  for (int step = 0; step < 60; ++step) {
    if (input.hosts.empty() || (input.hosts.size() < 8 && pick(0, 1) == 0)) {
      input.hosts.push_back({.capacity = pick(0, items + 2), .speed = pick(0, 3) * 700.0});
    } else {
      input.hosts.erase(input.hosts.begin() +
                        pick(0, static_cast<uint32_t>(input.hosts.size()) - 1));
    }
    if (pick(0, 3) == 0) {
      input.load.resize(items);
      for (double& load : input.load) load = pick(0, 4000);
    }
    const PlacementResult result = Place(input);
    CheckRules(input, result);
    Adopt(input, result);
    const PlacementResult again = Place(input);
    EXPECT_EQ(again.owners, result.owners) << "seed " << GetParam() << " step " << step;
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomPools, testing::Range(0u, 40u));

// With equal hosts and room for all, one join or leave moves little more than one host's share, and
// no host is far above its share.
class EqualPools : public testing::TestWithParam<uint32_t> {};

TEST_P(EqualPools, MoveLittleAndStayBalanced) {
  std::mt19937 random(GetParam());
  const uint32_t layers = 1 + random() % 6;
  const uint32_t experts = 8 + random() % 25;
  PlacementInput input{.layers = layers,
                       .experts_per_layer = experts,
                       .replicas = 1 + static_cast<uint32_t>(random() % 2)};
  const uint32_t items = layers * experts;
  for (uint32_t i = 0; i < input.replicas; ++i) input.hosts.push_back({.capacity = items});
  Adopt(input, Place(input));
  for (int step = 0; step < 40; ++step) {
    size_t lost = 0;
    if (input.hosts.size() == input.replicas || (input.hosts.size() < 7 && random() % 2 == 0)) {
      input.hosts.push_back({.capacity = items});
    } else {
      const auto host = input.hosts.begin() + static_cast<ptrdiff_t>(random() % input.hosts.size());
      lost = host->loaded.size();
      input.hosts.erase(host);
    }
    const PlacementResult result = Place(input);
    CheckRules(input, result);
    const double share = static_cast<double>(items) * input.replicas / input.hosts.size();
    EXPECT_LE(Loads(input, result), 1.2 * (lost > 0 ? static_cast<double>(lost) : share) + layers)
        << "step " << step;
    for (const auto& held : PerHost(result, input.hosts.size())) {
      EXPECT_LE(held.size(), share * (1 + kTolerance) + 1);
      for (uint32_t layer = 0; layer < layers; ++layer) {
        const auto count = std::count_if(held.begin(), held.end(),
                                         [&](Item item) { return item / experts == layer; });
        EXPECT_LE(count, share / layers * (1 + kTolerance) + 1);
      }
    }
    Adopt(input, result);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, EqualPools, testing::Range(0u, 20u));

}  // namespace
}  // namespace switchyard::placement
