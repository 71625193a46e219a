#include "router_service/wire.h"

#include <cstring>

#include "gtest/gtest.h"

namespace switchyard::router {
namespace {

EvaluationPiece Piece() {
  EvaluationPiece piece = {.first_position = 10, .positions = 5, .last = true};
  for (int i = 0; i < 15; ++i) piece.logits.push_back(static_cast<float>(i));  // vocabulary 3
  piece.routing.push_back(
      {.layer = 4, .ids = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, .weights = std::vector<float>(10, 0.5f)});
  piece.token_nll = {1, 2, 3, 4};  // the last position has no token after it
  return piece;
}

std::vector<v1::EvaluateResponse> Messages(const EvaluationPiece& piece, size_t max_bytes) {
  std::vector<v1::EvaluateResponse> messages;
  ToProto(7, piece, max_bytes,
          [&](v1::EvaluateResponse message) { messages.push_back(std::move(message)); });
  return messages;
}

TEST(WireTest, WhatARequestDoesNotSayIsOff) {
  const GenerateParameters plain = FromProto({}, TimePoint::max());
  EXPECT_EQ(plain.logprobs, -1);
  EXPECT_EQ(plain.prompt_logprobs, -1);
  EXPECT_EQ(plain.sampling.top_p, 1.0f);
  EXPECT_EQ(plain.logit_edits.repetition_penalty, 1.0f);
  v1::GenerateRequest request;
  request.set_request_id("cmpl-1\n" + std::string(1000, 'x'));
  request.set_logprobs(0);
  request.set_prompt_logprobs(0);
  request.mutable_sampling()->set_top_p(0);
  const GenerateParameters asked = FromProto(request, TimePoint::max());
  EXPECT_EQ(asked.logprobs, 0);
  EXPECT_EQ(asked.prompt_logprobs, 0);
  EXPECT_EQ(asked.sampling.top_p, 0.0f);
  EXPECT_TRUE(asked.request_id.starts_with("cmpl-1\\nxxx")) << asked.request_id;
  EXPECT_LT(asked.request_id.size(), 140u);
}

TEST(WireTest, LogitEditsArriveAsTheyWereSent) {
  v1::GenerateRequest request;
  v1::Sampling& sampling = *request.mutable_sampling();
  sampling.set_min_p(0.25f);
  sampling.set_repetition_penalty(1.5f);
  sampling.set_presence_penalty(-1);
  sampling.set_frequency_penalty(2);
  sampling.add_logit_bias()->set_token(3);
  sampling.mutable_logit_bias(0)->set_bias(-4);
  sampling.add_allowed_token_ids(7);
  sampling.add_bad_words()->add_ids(8);
  const GenerateParameters parameters = FromProto(request, TimePoint::max());
  EXPECT_EQ(parameters.sampling.min_p, 0.25f);
  const kernels::LogitEditParameters& edits = parameters.logit_edits;
  EXPECT_EQ(edits.repetition_penalty, 1.5f);
  EXPECT_EQ(edits.presence_penalty, -1.0f);
  EXPECT_EQ(edits.frequency_penalty, 2.0f);
  ASSERT_EQ(edits.bias.size(), 1u);
  EXPECT_EQ(edits.bias[0].token, 3);
  EXPECT_EQ(edits.bias[0].bias, -4.0f);
  EXPECT_EQ(edits.allowed, std::vector<int32_t>{7});
  EXPECT_EQ(edits.bad_words, (std::vector<std::vector<int32_t>>{{8}}));
}

TEST(WireTest, APieceThatFitsIsOneMessage) {
  const auto messages = Messages(Piece(), 1 << 20);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].row(), 7u);
  EXPECT_EQ(messages[0].first_position(), 10u);
  EXPECT_EQ(messages[0].positions(), 5u);
  EXPECT_EQ(messages[0].logits().size(), 15 * sizeof(float));
  EXPECT_EQ(messages[0].token_nll_size(), 4);
}

TEST(WireTest, CutsALargePieceBetweenPositions) {
  // A position takes 3 logits, 2 ids and 2 weights: 28 bytes.
  const auto messages = Messages(Piece(), 60);
  ASSERT_EQ(messages.size(), 3u);
  uint32_t position = 10;
  std::string logits, ids;
  std::vector<double> nll;
  for (const v1::EvaluateResponse& message : messages) {
    EXPECT_EQ(message.first_position(), position);
    position += message.positions();
    logits += message.logits();
    ASSERT_EQ(message.routing_size(), 1);
    EXPECT_EQ(message.routing(0).layer(), 4u);
    EXPECT_EQ(message.routing(0).weights().size(), message.positions() * 2 * sizeof(float));
    ids += message.routing(0).ids();
    nll.insert(nll.end(), message.token_nll().begin(), message.token_nll().end());
  }
  const EvaluationPiece piece = Piece();
  EXPECT_EQ(std::memcmp(logits.data(), piece.logits.data(), logits.size()), 0);
  EXPECT_EQ(std::memcmp(ids.data(), piece.routing[0].ids.data(), ids.size()), 0);
  EXPECT_EQ(nll, piece.token_nll);
}

TEST(WireTest, MultiTokenPredictionHasOnePositionLessAtTheRowsEnd) {
  EvaluationPiece piece = {.first_position = 4, .positions = 3, .mtp_positions = 2};
  piece.mtp_logits = {1, 2, 3, 4};
  piece.mtp_hidden = {5, 6};
  piece.mtp_routing = {{.layer = 9, .ids = {7, 8}, .weights = {0.5f, 0.25f}}};
  const auto messages = Messages(piece, 1);
  ASSERT_EQ(messages.size(), 3u);
  for (size_t i = 0; i < 2; ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(std::memcmp(messages[i].mtp_logits().data(), &piece.mtp_logits[2 * i], 8), 0);
    EXPECT_EQ(std::memcmp(messages[i].mtp_hidden().data(), &piece.mtp_hidden[i], 4), 0);
    ASSERT_EQ(messages[i].routing_size(), 1);
    EXPECT_EQ(messages[i].routing(0).layer(), 9u);
    EXPECT_EQ(std::memcmp(messages[i].routing(0).ids().data(), &piece.mtp_routing[0].ids[i], 4), 0);
  }
  EXPECT_EQ(messages[2].positions(), 1u);
  EXPECT_TRUE(messages[2].mtp_logits().empty());
  EXPECT_EQ(messages[2].routing_size(), 0);
}

TEST(WireTest, SendsAPositionLargerThanTheLimitAlone) {
  EXPECT_EQ(Messages(Piece(), 1).size(), 5u);
}

TEST(WireTest, APieceWithNothingAskedForStillTellsItsPositions) {
  const auto messages = Messages({.first_position = 0, .positions = 9}, 1 << 20);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].positions(), 9u);
}

TEST(WireTest, RanksCountFromOne) {
  GenerationUpdate update;
  update.tokens = {5};
  update.logprobs.push_back(
      {.token = 5, .logprob = -1.5f, .rank = 1, .top = {{.token = 3, .logprob = -0.5f}}});
  const v1::GenerateResponse response = ToProto(update);
  EXPECT_EQ(response.logprobs(0).chosen().rank(), 2);
  EXPECT_EQ(response.logprobs(0).top(0).rank(), 1);
}

}  // namespace
}  // namespace switchyard::router
