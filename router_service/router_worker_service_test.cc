#include "router_service/router_worker_service.h"

#include <limits>
#include <thread>

#include "gtest/gtest.h"
#include "kernels/device/cpu_device.h"
#include "proto/router_worker.grpc.pb.h"
#include "router_service/testing/local_dispatcher.h"
#include "router_service/testing/tiny_model.h"
#include "services/runtime/grpc_client.h"
#include "services/runtime/grpc_server.h"

namespace switchyard::router {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kPatience = seconds(60);

class RouterWorkerServiceTest : public ::testing::Test {
 protected:
  RouterWorkerServiceTest() : pool_(1) {
    auto dispatcher =
        LocalDispatcher::Load(TinyMoeCheckpoint(), kernels::NumericsClass::kFp32, device_);
    EXPECT_TRUE(dispatcher.ok()) << dispatcher.status();
    dispatcher_ = *std::move(dispatcher);
    auto engine =
        Engine::Start(TinyMoeCheckpoint(), {.max_requests = 8, .scheduler = {.prefill_chunk = 16}},
                      device_, *dispatcher_, {});
    EXPECT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    auto server = runtime::GrpcServer::Start(
        {.services = {{v1::RouterWorker::service_full_name(), &service_}}});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = std::make_unique<runtime::GrpcServer>(*std::move(server));
    stub_ = v1::RouterWorker::NewStub(runtime::NewChannel(server_->address()));
  }

  ~RouterWorkerServiceTest() override { server_.reset(); }

  void Open() {
    service_.Open(*engine_, [this](v1::RouterWorkerStatus& status) {
      status.set_kv_pages_used(engine_->Status().kv_pages_used);
    });
  }

  static v1::GenerateRequest Request() {
    v1::GenerateRequest request;
    for (int32_t token = 1; token <= 20; ++token) request.add_prompt_ids(token);
    request.set_max_tokens(6);
    request.set_ignore_eos(true);
    request.set_logprobs(-1);
    request.set_prompt_logprobs(-1);
    return request;
  }

  struct Answer {
    std::vector<v1::GenerateResponse> messages;
    std::vector<int32_t> tokens;
    grpc::Status status;
  };
  Answer Generate(const v1::GenerateRequest& request) {
    const auto context = runtime::NewContext(kPatience);
    const auto stream = stub_->Generate(context.get(), request);
    Answer answer;
    for (v1::GenerateResponse message; stream->Read(&message);) {
      answer.tokens.insert(answer.tokens.end(), message.token_ids().begin(),
                           message.token_ids().end());
      answer.messages.push_back(message);
    }
    answer.status = stream->Finish();
    return answer;
  }

  // The request is refused, naming the field.
  void ExpectInvalid(const v1::GenerateRequest& request, const std::string& field) {
    const grpc::Status status = Generate(request).status;
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << field;
    EXPECT_EQ(status.error_message().rfind(field + ":", 0), 0u) << status.error_message();
  }

  bool WaitIdle() {
    const TimePoint give_up = Clock::Real().Now() + kPatience;
    while (Clock::Real().Now() < give_up) {
      const EngineStatus status = engine_->Status();
      if (status.kv_pages_used == 0 && status.running == 0 && status.waiting == 0) return true;
      std::this_thread::sleep_for(milliseconds(1));
    }
    return false;
  }

  kernels::ThreadPool pool_;
  kernels::CpuDevice device_{pool_};
  std::unique_ptr<LocalDispatcher> dispatcher_;
  std::unique_ptr<Engine> engine_;
  RouterWorkerService service_;
  std::unique_ptr<runtime::GrpcServer> server_;
  std::unique_ptr<v1::RouterWorker::Stub> stub_;
};

TEST_F(RouterWorkerServiceTest, IsUnavailableWhileItLoads) {
  EXPECT_EQ(Generate(Request()).status.error_code(), grpc::StatusCode::UNAVAILABLE);
  const auto context = runtime::NewContext(kPatience);
  v1::RouterWorkerStatus status;
  EXPECT_EQ(stub_->Status(context.get(), {}, &status).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(RouterWorkerServiceTest, StreamsTokensOneByOne) {
  Open();
  const Answer answer = Generate(Request());
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  ASSERT_EQ(answer.messages.size(), 6u);
  for (const v1::GenerateResponse& message : answer.messages) {
    EXPECT_EQ(message.token_ids_size(), 1);
    EXPECT_EQ(message.finish(),
              &message == &answer.messages.back() ? v1::FINISH_LENGTH : v1::FINISH_NONE);
    EXPECT_EQ(message.stop_token(), -1);
  }
}

TEST_F(RouterWorkerServiceTest, ResumesAfterGeneratedTokens) {
  Open();
  v1::GenerateRequest request = Request();
  const std::vector<int32_t> whole = Generate(request).tokens;
  request.mutable_generated_ids()->Add(whole.begin(), whole.begin() + 2);
  EXPECT_EQ(Generate(request).tokens, std::vector<int32_t>(whole.begin() + 2, whole.end()));
}

TEST_F(RouterWorkerServiceTest, StopTokenIsTheLastToken) {
  Open();
  v1::GenerateRequest request = Request();
  const int32_t second = Generate(request).tokens[1];
  request.add_stop_token_ids(second);
  const Answer answer = Generate(request);
  EXPECT_EQ(answer.tokens.back(), second);
  EXPECT_EQ(answer.messages.back().finish(), v1::FINISH_STOP);
  EXPECT_EQ(answer.messages.back().stop_token(), second);
}

TEST_F(RouterWorkerServiceTest, GivesLogprobs) {
  Open();
  v1::GenerateRequest request = Request();
  request.set_logprobs(2);
  request.set_prompt_logprobs(1);
  const Answer answer = Generate(request);
  for (const v1::GenerateResponse& message : answer.messages) {
    ASSERT_EQ(message.logprobs_size(), 1);
    const v1::TokenLogprobs& logprobs = message.logprobs(0);
    EXPECT_EQ(logprobs.chosen().token(), message.token_ids(0));
    EXPECT_EQ(logprobs.chosen().rank(), 1) << "greedy takes the most likely";
    ASSERT_EQ(logprobs.top_size(), 2);
    EXPECT_EQ(logprobs.top(0).token(), message.token_ids(0));
    EXPECT_EQ(logprobs.top(1).rank(), 2);
    EXPECT_LE(logprobs.top(1).logprob(), logprobs.top(0).logprob());
  }
  ASSERT_EQ(answer.messages[0].prompt_logprobs_size(), 20);
  EXPECT_FALSE(answer.messages[0].prompt_logprobs(0).has_chosen());
  EXPECT_EQ(answer.messages[0].prompt_logprobs(7).chosen().token(), request.prompt_ids(7));
  EXPECT_EQ(answer.messages[1].prompt_logprobs_size(), 0);
}

TEST_F(RouterWorkerServiceTest, TellsCachedTokens) {
  Open();
  EXPECT_EQ(Generate(Request()).messages[0].cached_tokens(), 0u);
  EXPECT_EQ(Generate(Request()).messages[0].cached_tokens(), 16u);
}

TEST_F(RouterWorkerServiceTest, RefusesBadFieldsByName) {
  Open();
  const auto with = [](auto change) {
    v1::GenerateRequest request = Request();
    change(request);
    return request;
  };
  using R = v1::GenerateRequest;
  ExpectInvalid(with([](R& r) { r.clear_prompt_ids(); }), "prompt_ids");
  ExpectInvalid(with([](R& r) { r.add_prompt_ids(kTinyVocabulary); }), "prompt_ids");
  ExpectInvalid(with([](R& r) { r.add_prompt_ids(-1); }), "prompt_ids");
  ExpectInvalid(with([](R& r) {
                  for (int i = 0; i < 300; ++i) r.add_prompt_ids(1);
                }),
                "prompt_ids");
  ExpectInvalid(with([](R& r) { r.set_max_tokens(237); }), "max_tokens");
  ExpectInvalid(with([](R& r) { r.set_max_tokens(UINT32_MAX); }), "max_tokens");
  ExpectInvalid(with([](R& r) { r.set_min_tokens(7); }), "min_tokens");
  ExpectInvalid(with([](R& r) { r.add_generated_ids(kTinyVocabulary); }), "generated_ids");
  ExpectInvalid(with([](R& r) { r.add_stop_token_ids(1 << 30); }), "stop_token_ids");
  ExpectInvalid(with([](R& r) { r.set_logprobs(-2); }), "logprobs");
  ExpectInvalid(with([](R& r) { r.set_prompt_logprobs(INT32_MAX); }), "prompt_logprobs");
  const float nan = std::numeric_limits<float>::quiet_NaN();
  ExpectInvalid(with([&](R& r) { r.mutable_sampling()->set_temperature(nan); }),
                "sampling.temperature");
  ExpectInvalid(with([](R& r) { r.mutable_sampling()->set_temperature(-1); }),
                "sampling.temperature");
  ExpectInvalid(with([&](R& r) { r.mutable_sampling()->set_top_p(nan); }), "sampling.top_p");
  ExpectInvalid(with([](R& r) { r.mutable_sampling()->set_top_p(1.5); }), "sampling.top_p");
  ExpectInvalid(with([](R& r) { r.mutable_sampling()->set_top_k(-3); }), "sampling.top_k");
  using S = v1::Sampling;
  const auto expect_invalid = [&](const std::string& field, void (*change)(S&)) {
    ExpectInvalid(with([change](R& r) { change(*r.mutable_sampling()); }), "sampling." + field);
  };
  expect_invalid("min_p", [](S& s) { s.set_min_p(-0.1f); });
  expect_invalid("repetition_penalty", [](S& s) { s.set_repetition_penalty(9e-6f); });
  expect_invalid("presence_penalty", [](S& s) { s.set_presence_penalty(INFINITY); });
  expect_invalid("frequency_penalty", [](S& s) { s.set_frequency_penalty(NAN); });
  expect_invalid("logit_bias", [](S& s) { s.add_logit_bias()->set_token(kTinyVocabulary); });
  expect_invalid("logit_bias", [](S& s) { s.add_logit_bias()->set_bias(NAN); });
  expect_invalid("logit_bias", [](S& s) {
    s.add_logit_bias();
    s.add_logit_bias();
  });
  expect_invalid("allowed_token_ids", [](S& s) { s.add_allowed_token_ids(-1); });
  expect_invalid("bad_words", [](S& s) { s.add_bad_words(); });
  expect_invalid("bad_words", [](S& s) { s.add_bad_words()->add_ids(kTinyVocabulary); });
}

TEST_F(RouterWorkerServiceTest, SaysWhenNoTokenIsLeft) {
  Open();
  v1::GenerateRequest request = Request();
  request.set_min_tokens(1);
  request.add_stop_token_ids(3);
  request.mutable_sampling()->add_allowed_token_ids(3);
  ExpectInvalid(request, "sampling.allowed_token_ids");
}

TEST_F(RouterWorkerServiceTest, CancellingFreesPages) {
  Open();
  v1::GenerateRequest request = Request();
  request.set_max_tokens(236);
  const auto context = runtime::NewContext(kPatience);
  const auto stream = stub_->Generate(context.get(), request);
  v1::GenerateResponse message;
  ASSERT_TRUE(stream->Read(&message));
  context->TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(WaitIdle());
}

TEST_F(RouterWorkerServiceTest, EvaluatesRowsOfManyLengths) {
  Open();
  v1::EvaluateRequest request;
  request.set_logits(true);
  request.set_routing(true);
  request.set_token_nll(true);
  for (int row = 0; row < 40; ++row) {
    v1::TokenRow* const tokens = request.add_rows();
    for (int32_t i = 0; i <= row; ++i) tokens->add_ids((row + i) % 90);
  }
  const auto context = runtime::NewContext(kPatience);
  const auto stream = stub_->Evaluate(context.get(), request);
  std::vector<uint32_t> positions(40);
  std::vector<int> losses(40);
  for (v1::EvaluateResponse piece; stream->Read(&piece);) {
    EXPECT_EQ(piece.first_position(), positions[piece.row()]);
    positions[piece.row()] += piece.positions();
    losses[piece.row()] += piece.token_nll_size();
    EXPECT_EQ(piece.logits().size(), piece.positions() * kTinyVocabulary * sizeof(float));
    ASSERT_EQ(piece.routing_size(), 2);
    EXPECT_EQ(piece.routing(1).ids().size(), piece.positions() * 2 * sizeof(int32_t));
    EXPECT_EQ(piece.routing(1).weights().size(), piece.positions() * 2 * sizeof(float));
  }
  const grpc::Status status = stream->Finish();
  ASSERT_TRUE(status.ok()) << status.error_message();
  for (int row = 0; row < 40; ++row) {
    EXPECT_EQ(positions[row], static_cast<uint32_t>(row + 1));
    EXPECT_EQ(losses[row], row);
  }
}

TEST_F(RouterWorkerServiceTest, ABadRowFailsTheEvaluation) {
  Open();
  v1::EvaluateRequest request;
  for (int row = 0; row < 5; ++row) request.add_rows()->add_ids(row == 3 ? kTinyVocabulary : 1);
  const auto context = runtime::NewContext(kPatience);
  const auto stream = stub_->Evaluate(context.get(), request);
  v1::EvaluateResponse piece;
  while (stream->Read(&piece)) continue;
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(status.error_message().find("row 3"), std::string::npos) << status.error_message();
  EXPECT_TRUE(WaitIdle());
}

TEST_F(RouterWorkerServiceTest, AStoppingServerEndsItsStreams) {
  Open();
  v1::GenerateRequest request = Request();
  request.set_max_tokens(236);
  const auto context = runtime::NewContext(kPatience);
  const auto stream = stub_->Generate(context.get(), request);
  v1::GenerateResponse message;
  ASSERT_TRUE(stream->Read(&message));
  server_->Shutdown(milliseconds(0));
  while (stream->Read(&message)) continue;
  stream->Finish();
  EXPECT_TRUE(WaitIdle());
}

}  // namespace
}  // namespace switchyard::router
