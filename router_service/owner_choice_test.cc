#include "router_service/owner_choice.h"

#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace switchyard::router {
namespace {

using std::chrono::milliseconds;

constexpr uint64_t kA = 100, kB = 200;

// Expert 0 is with both hosts, expert 1 with A, expert 2 with nobody.
std::shared_ptr<const runtime::PlacementView> Placement() {
  v1::Placement placement;
  placement.set_epoch(1);
  placement.add_hosts()->set_id(kA);
  placement.add_hosts()->set_id(kB);
  v1::LayerPlacement* layer = placement.add_layers();
  for (const uint32_t offset : {0, 2, 3, 3}) layer->add_offsets(offset);
  for (const uint32_t host : {0, 1, 0}) layer->add_hosts(host);
  return *runtime::PlacementView::Parse(std::move(placement));
}

class OwnerChoiceTest : public ::testing::Test {
 protected:
  OwnerChoiceTest() { choice_.SetPlacement(Placement()); }

  void Start(std::vector<int32_t> experts) {
    experts_ = std::move(experts);
    layer_.Start({.rows = std::ssize(experts_), .experts = experts_.data()}, TimePoint::max(), 1, 1,
                 1, 4);
  }
  std::vector<AssignmentIndex> To(uint64_t member) {
    const auto& chosen = choice_.Choose(layer_);
    const auto found = chosen.find(member);
    return found == chosen.end() ? std::vector<AssignmentIndex>() : found->second;
  }
  using List = std::vector<AssignmentIndex>;

  std::set<uint64_t> reachable_ = {kA, kB};
  OwnerChoice choice_{[this](uint64_t member) { return reachable_.contains(member); }};
  std::vector<int32_t> experts_;
  LayerInFlight layer_;
};

TEST_F(OwnerChoiceTest, SpreadsWorkOverTheOwners) {
  Start({0, 0, 1, 0});
  EXPECT_EQ(To(kA), (List{0, 2}));
  EXPECT_EQ(To(kB), (List{1, 3}));
}

TEST_F(OwnerChoiceTest, AsksWhomItAvoidsOnlyWhenNobodyElseIsThere) {
  Start({0, 0, 1});
  choice_.Avoid(kA);
  EXPECT_EQ(To(kB), (List{0, 1}));
  EXPECT_EQ(To(kA), (List{2})) << "the only owner";
  reachable_.erase(kB);
  EXPECT_EQ(To(kA), (List{0, 1, 2}));
  reachable_.insert(kB);
  choice_.Trust(kA);
  EXPECT_EQ(To(kA), (List{0, 2}));
}

TEST_F(OwnerChoiceTest, APauseKeepsAllWorkAwayUntilItEndsOrOwnersChange) {
  Start({0, 1});
  const TimePoint now{};
  choice_.Pause(kA, now + milliseconds(20));
  EXPECT_EQ(To(kA), List{});
  EXPECT_EQ(To(kB), List{0});
  choice_.EndPauses(now + milliseconds(20));
  EXPECT_EQ(To(kA).size(), 2u);
  choice_.Pause(kA, now + milliseconds(40));
  choice_.SetPlacement(Placement());
  EXPECT_EQ(To(kA).size(), 2u);
}

TEST_F(OwnerChoiceTest, ALayerThatEveryOwnerRefusesIsHopeless) {
  Start({0});
  layer_.Exclude(kA);
  EXPECT_FALSE(choice_.EveryOwnerExcluded(layer_));
  EXPECT_EQ(To(kB), List{0});
  layer_.Exclude(kB);
  EXPECT_TRUE(choice_.EveryOwnerExcluded(layer_));
  EXPECT_EQ(To(kB), List{});
}

TEST_F(OwnerChoiceTest, ARowThatIsNotFiniteGoesToAnotherOwner) {
  Start({0});
  const AssignmentIndex index = 0;
  for (const auto& [first, second] : {std::pair(kA, kB), std::pair(kB, kA)}) {
    Start({0});
    layer_.SetSent(first, 0, TimePoint::max(), {&index, 1});
    ASSERT_TRUE(layer_.TakeNotFinite(first, 0, 0));
    EXPECT_EQ(To(second), List{0});
  }
}

TEST_F(OwnerChoiceTest, NamesExpertsThatNobodyInReachOwns) {
  Start({0, 1, 2});
  EXPECT_EQ(choice_.Orphans(layer_), std::set<uint32_t>{2});
  reachable_.erase(kA);
  EXPECT_EQ(choice_.Orphans(layer_), (std::set<uint32_t>{1, 2}));
  EXPECT_FALSE(choice_.Complete(1));
  EXPECT_TRUE(choice_.Complete(0));  // none is needed
}

}  // namespace
}  // namespace switchyard::router
