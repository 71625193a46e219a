#include "services/runtime/placement_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace switchyard::runtime {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Layer 1: expert 0 on hosts 0 and 1, expert 1 on host 1. Layer 4: expert 0 on host 0, 1 on none.
v1::Placement Sample() {
  v1::Placement placement;
  placement.set_epoch(9);
  for (const uint64_t id : {11, 22}) placement.add_hosts()->set_id(id);
  v1::LayerPlacement* first = placement.add_layers();
  first->set_layer(1);
  for (const uint32_t offset : {0, 2, 3}) first->add_offsets(offset);
  for (const uint32_t host : {0, 1, 1}) first->add_hosts(host);
  v1::LayerPlacement* second = placement.add_layers();
  second->set_layer(4);
  for (const uint32_t offset : {0, 1, 1}) second->add_offsets(offset);
  second->add_hosts(0);
  return placement;
}

TEST(PlacementView, FindsOwners) {
  const auto view = PlacementView::Parse(Sample());
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ((*view)->epoch(), 9u);
  EXPECT_THAT((*view)->Owners(1, 0), ElementsAre(0, 1));
  EXPECT_THAT((*view)->Owners(1, 1), ElementsAre(1));
  EXPECT_THAT((*view)->Owners(4, 0), ElementsAre(0));
  EXPECT_THAT((*view)->Owners(4, 1), IsEmpty());
  EXPECT_FALSE((*view)->complete());
  EXPECT_EQ((*view)->ExpertCount(4), 2u);
  EXPECT_EQ((*view)->HostIndex(22), 1u);
}

TEST(PlacementView, AnswersForWhatIsNotThere) {
  const auto view = PlacementView::Parse(Sample());
  ASSERT_TRUE(view.ok());
  EXPECT_THAT((*view)->Owners(1, 2), IsEmpty());
  EXPECT_THAT((*view)->Owners(0, 0), IsEmpty());
  EXPECT_THAT((*view)->Owners(UINT32_MAX, UINT32_MAX), IsEmpty());
  EXPECT_EQ((*view)->ExpertCount(2), 0u);
  EXPECT_FALSE((*view)->HostIndex(33).has_value());
}

TEST(PlacementView, CompleteWhenEveryExpertHasAnOwner) {
  v1::Placement placement = Sample();
  placement.mutable_layers(1)->add_hosts(1);
  placement.mutable_layers(1)->set_offsets(2, 2);
  EXPECT_TRUE((*PlacementView::Parse(placement))->complete());
  EXPECT_TRUE((*PlacementView::Parse({}))->complete());  // a dense model
}

TEST(PlacementView, RefusesWhatDoesNotFitTogether) {
  auto refused = [](const std::function<void(v1::LayerPlacement&)>& spoil) {
    v1::Placement placement = Sample();
    spoil(*placement.mutable_layers(1));
    const auto view = PlacementView::Parse(placement);
    EXPECT_THAT(view.status().ToString(), HasSubstr("placement of layer"));
    return absl::IsInvalidArgument(view.status());
  };
  EXPECT_TRUE(refused([](v1::LayerPlacement& layer) { layer.clear_offsets(); }));
  EXPECT_TRUE(refused([](v1::LayerPlacement& layer) { layer.set_offsets(0, 1); }));
  EXPECT_TRUE(refused([](v1::LayerPlacement& layer) { layer.set_offsets(1, 2); }));
  EXPECT_TRUE(refused([](v1::LayerPlacement& layer) { layer.set_offsets(2, UINT32_MAX); }));
  EXPECT_TRUE(refused([](v1::LayerPlacement& layer) { layer.set_hosts(0, 2); }));
  EXPECT_TRUE(refused([](v1::LayerPlacement& layer) { layer.set_layer(1); }));
  EXPECT_TRUE(refused([](v1::LayerPlacement& layer) { layer.set_layer(UINT32_MAX); }));
}

}  // namespace
}  // namespace switchyard::runtime
