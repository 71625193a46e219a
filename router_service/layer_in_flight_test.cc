#include "router_service/layer_in_flight.h"

#include <cstring>
#include <vector>

#include "gtest/gtest.h"

namespace switchyard::router {
namespace {

using std::chrono::seconds;

constexpr size_t kRowBytes = 4;
constexpr uint64_t kFirst = 100, kSecond = 200;

// A layer of three rows with two experts each.
class LayerInFlightTest : public ::testing::Test {
 protected:
  LayerInFlightTest() {
    layer_.Start({.rows = 3, .experts = experts_.data()}, now_ + seconds(30), 1, 1, 2, kRowBytes);
  }

  // Sends what is given to a member; the frame's attempt is the present one.
  uint32_t Send(uint64_t member, const std::vector<AssignmentIndex>& assignments) {
    const uint32_t part = layer_.NextPart();
    layer_.SetSent(member, part, now_ + seconds(10), assignments);
    return part;
  }
  bool Answer(uint64_t member, uint32_t attempt, uint32_t part, size_t rows) {
    const std::vector<std::byte> payload(rows * kRowBytes, std::byte{7});
    return layer_.TakeRows(member, attempt, part, payload);
  }

  const std::vector<int32_t> experts_ = {0, 1, 2, 3, 4, 5};
  TimePoint now_{};
  LayerInFlight layer_;
};

TEST_F(LayerInFlightTest, OnlyWaitsThatWereInVainCountAsOverdue) {
  const uint32_t first = Send(kFirst, {0, 1, 2, 3, 4, 5});
  EXPECT_TRUE(layer_.TakeRefusal(kFirst, 0, first));
  EXPECT_EQ(layer_.attempt(), 1u);
  EXPECT_EQ(layer_.overdue_resends(), 0u);
  Send(kSecond, {0, 1, 2, 3, 4, 5});
  std::set<uint64_t> late;
  EXPECT_EQ(layer_.ResendOverdue(now_ + seconds(9), late), 0u);
  EXPECT_TRUE(late.empty());
  EXPECT_EQ(layer_.ResendOverdue(now_ + seconds(10), late), 6u);
  EXPECT_EQ(late, std::set<uint64_t>{kSecond});
  EXPECT_EQ(layer_.overdue_resends(), 1u);
}

TEST_F(LayerInFlightTest, RowsThatAreNotFiniteTwiceAreGivenUpAndTheOthersAreNot) {
  const uint32_t all = Send(kFirst, {0, 1, 2, 3, 4, 5});
  EXPECT_FALSE(layer_.TakeNotFinite(kFirst, 1, all)) << "another attempt";
  ASSERT_TRUE(layer_.TakeNotFinite(kFirst, 0, all));
  EXPECT_EQ(layer_.pending().size(), 6u);
  EXPECT_EQ(layer_.NotFiniteAt(3), kFirst);
  EXPECT_EQ(layer_.missing(), 6u);
  const uint32_t row0 = Send(kSecond, {0, 1}), row1 = Send(kSecond, {2, 3}),
                 row2 = Send(kSecond, {4, 5});
  ASSERT_TRUE(Answer(kSecond, 1, row0, 2));
  ASSERT_TRUE(layer_.TakeNotFinite(kSecond, 1, row1));
  EXPECT_TRUE(layer_.pending().empty()) << "not a third time";
  ASSERT_TRUE(Answer(kSecond, 1, row2, 2));
  EXPECT_TRUE(layer_.complete());
  const DispatchResult result = layer_.result();
  EXPECT_NE(result[0], nullptr);
  EXPECT_EQ(result[2], nullptr);
  EXPECT_EQ(result[3], nullptr);
  EXPECT_NE(result[5], nullptr);
}

TEST_F(LayerInFlightTest, ALateAnswerToARowThatWasGivenUpChangesNothing) {
  const uint32_t slow = Send(kFirst, {0, 1, 2, 3, 4, 5});
  std::set<uint64_t> late;
  layer_.ResendOverdue(now_ + seconds(10), late);
  const uint32_t second = Send(kSecond, {0, 1});
  ASSERT_TRUE(layer_.TakeNotFinite(kSecond, 1, second));
  const uint32_t third = Send(kSecond, {0, 1});
  ASSERT_TRUE(layer_.TakeNotFinite(kSecond, 2, third));
  EXPECT_EQ(layer_.missing(), 4u);
  ASSERT_TRUE(Answer(kFirst, 0, slow, 6));
  EXPECT_TRUE(layer_.complete());
  EXPECT_EQ(layer_.result()[0], nullptr);
  EXPECT_NE(layer_.result()[2], nullptr);
}

TEST_F(LayerInFlightTest, WhatOneLayerKnowsOfMembersEndsWithIt) {
  const uint32_t all = Send(kFirst, {0, 1, 2, 3, 4, 5});
  ASSERT_TRUE(layer_.TakeNotFinite(kFirst, 0, all));
  layer_.Exclude(kSecond);
  EXPECT_TRUE(layer_.Excluded(kSecond));
  layer_.Finish(absl::OkStatus());
  layer_.Start({.rows = 3, .experts = experts_.data()}, now_ + seconds(30), 2, 1, 2, kRowBytes);
  EXPECT_FALSE(layer_.Excluded(kSecond));
  EXPECT_EQ(layer_.NotFiniteAt(0), 0u);
}

}  // namespace
}  // namespace switchyard::router
