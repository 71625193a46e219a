#include "router_service/wire.h"

#include <algorithm>
#include <bit>

#include "absl/strings/escaping.h"

namespace switchyard::router {
namespace {

// Vectors travel as the bytes they are in memory.
static_assert(std::endian::native == std::endian::little);

// A client's name for its request goes into the log, so it is short and printable.
constexpr size_t kMaxRequestId = 128;

std::vector<int32_t> Ids(const google::protobuf::RepeatedField<int32_t>& ids) {
  return {ids.begin(), ids.end()};
}

kernels::LogitEditParameters LogitEdits(const v1::Sampling& sampling) {
  kernels::LogitEditParameters edits{.presence_penalty = sampling.presence_penalty(),
                                     .frequency_penalty = sampling.frequency_penalty(),
                                     .allowed = Ids(sampling.allowed_token_ids())};
  if (sampling.has_repetition_penalty()) edits.repetition_penalty = sampling.repetition_penalty();
  for (const v1::LogitBias& bias : sampling.logit_bias()) {
    edits.bias.push_back({bias.token(), bias.bias()});
  }
  for (const v1::TokenSequence& word : sampling.bad_words()) {
    edits.bad_words.push_back(Ids(word.ids()));
  }
  return edits;
}

void SetLogprobs(const TokenLogprobs& logprobs, v1::TokenLogprobs* out) {
  if (logprobs.token >= 0) {
    out->mutable_chosen()->set_token(logprobs.token);
    out->mutable_chosen()->set_logprob(logprobs.logprob);
    out->mutable_chosen()->set_rank(logprobs.rank + 1);
  }
  for (const kernels::TokenLogprob& top : logprobs.top) {
    v1::TokenLogprob* const entry = out->add_top();
    entry->set_token(top.token);
    entry->set_logprob(top.logprob);
    entry->set_rank(out->top_size());
  }
}

v1::FinishReason ToProto(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
      return v1::FINISH_NONE;
    case FinishReason::kStop:
      return v1::FINISH_STOP;
    case FinishReason::kLength:
      return v1::FINISH_LENGTH;
  }
  return v1::FINISH_NONE;
}

// Positions [first, first + count) of an array with one or more elements for each of `positions`.
template <typename T>
std::string Slice(const std::vector<T>& values, int64_t positions, int64_t first, int64_t count) {
  const size_t width = values.size() / positions * sizeof(T);
  return {reinterpret_cast<const char*>(values.data()) + first * width, count * width};
}

void SetRouting(const LayerRouting& layer, int64_t positions, int64_t first, int64_t count,
                v1::LayerRouting* routing) {
  routing->set_layer(static_cast<uint32_t>(layer.layer));
  routing->set_ids(Slice(layer.ids, positions, first, count));
  routing->set_weights(Slice(layer.weights, positions, first, count));
}

void SetMtp(const EvaluationPiece& piece, int64_t first, int64_t count,
            v1::EvaluateResponse& response) {
  count = std::min(count, piece.mtp_positions - first);
  response.set_mtp_logits(Slice(piece.mtp_logits, piece.mtp_positions, first, count));
  response.set_mtp_hidden(Slice(piece.mtp_hidden, piece.mtp_positions, first, count));
  for (const LayerRouting& layer : piece.mtp_routing) {
    SetRouting(layer, piece.mtp_positions, first, count, response.add_routing());
  }
}

size_t BytesPerPosition(const EvaluationPiece& piece) {
  size_t bytes =
      (piece.logits.size() + piece.mtp_logits.size() + piece.mtp_hidden.size()) * sizeof(float);
  for (const LayerRouting& layer : piece.routing) {
    bytes += layer.ids.size() * (sizeof(int32_t) + sizeof(float));
  }
  return bytes / piece.positions;
}

}  // namespace

GenerateParameters FromProto(const v1::GenerateRequest& request, TimePoint deadline) {
  return {.request_id = absl::CHexEscape(request.request_id().substr(0, kMaxRequestId)),
          .prompt = Ids(request.prompt_ids()),
          .generated = Ids(request.generated_ids()),
          .sampling = {.temperature = request.sampling().temperature(),
                       .top_k = request.sampling().top_k(),
                       .top_p = request.sampling().has_top_p() ? request.sampling().top_p() : 1.0f,
                       .min_p = request.sampling().min_p(),
                       .seed = request.sampling().seed()},
          .logit_edits = LogitEdits(request.sampling()),
          .max_tokens = request.max_tokens(),
          .min_tokens = request.min_tokens(),
          .stop_tokens = Ids(request.stop_token_ids()),
          .ignore_end_tokens = request.ignore_eos(),
          .logprobs = request.has_logprobs() ? request.logprobs() : -1,
          .prompt_logprobs = request.has_prompt_logprobs() ? request.prompt_logprobs() : -1,
          .deadline = deadline};
}

v1::GenerateResponse ToProto(const GenerationUpdate& update) {
  v1::GenerateResponse response;
  response.mutable_token_ids()->Add(update.tokens.begin(), update.tokens.end());
  for (const TokenLogprobs& logprobs : update.logprobs) {
    SetLogprobs(logprobs, response.add_logprobs());
  }
  for (const TokenLogprobs& logprobs : update.prompt_logprobs) {
    SetLogprobs(logprobs, response.add_prompt_logprobs());
  }
  response.set_finish(ToProto(update.finish));
  response.set_stop_token(update.stop_token);
  response.set_cached_tokens(static_cast<uint32_t>(update.cached_tokens));
  return response;
}

void ToProto(uint32_t row, const EvaluationPiece& piece, size_t max_bytes,
             const std::function<void(v1::EvaluateResponse)>& send) {
  const int64_t step = static_cast<int64_t>(
      std::max<size_t>(1, max_bytes / std::max<size_t>(1, BytesPerPosition(piece))));
  for (int64_t first = 0; first < piece.positions; first += step) {
    const int64_t count = std::min(step, piece.positions - first);
    v1::EvaluateResponse response;
    response.set_row(row);
    response.set_first_position(static_cast<uint32_t>(piece.first_position + first));
    response.set_positions(static_cast<uint32_t>(count));
    response.set_encoder(piece.encoder);
    response.set_logits(Slice(piece.logits, piece.positions, first, count));
    for (const LayerRouting& layer : piece.routing) {
      SetRouting(layer, piece.positions, first, count, response.add_routing());
    }
    if (first < piece.mtp_positions) SetMtp(piece, first, count, response);
    const int64_t nll = std::ssize(piece.token_nll);
    for (int64_t i = first; i < std::min(first + count, nll); ++i) {
      response.add_token_nll(piece.token_nll[i]);
    }
    send(std::move(response));
  }
}

}  // namespace switchyard::router
