#include "cli/eval.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/eval_input.h"
#include "cli/local_cluster.h"
#include "proto/router_worker.grpc.pb.h"
#include "services/base/file.h"
#include "services/base/status_macros.h"
#include "services/model/checkpoint.h"
#include "services/model/safetensors_writer.h"
#include "services/runtime/grpc_client.h"
#include "services/runtime/grpc_status.h"
#include "services/tokenizer/tokenizer.h"

namespace switchyard::cli {
namespace {

constexpr Duration kEvaluationLimit = std::chrono::hours(12);
constexpr size_t kMaxTextBytes = size_t{64} << 20;

using Stub = v1::RouterWorker::Stub;

// What one evaluation writes and sums; rows of several router workers arrive at once.
class Results {
 public:
  Results(const model::ModelSpec& spec, const EvalInput& input)
      : spec_(spec),
        input_(input),
        length_(static_cast<int64_t>(input.rows.front().ids.size())),
        row_nll_(input.rows.size()),
        row_tokens_(input.rows.size()) {}

  absl::Status Open(const std::string& path, int greedy);
  absl::Status Take(size_t row, const v1::EvaluateResponse& response);
  absl::Status TakeGreedy(size_t row, const std::vector<int64_t>& ids);
  absl::Status Finish();
  bool writes() const { return writer_.has_value(); }
  bool writes_mtp() const { return writes() && has_mtp_rows(); }

 private:
  int64_t TopK(int64_t layer) const { return spec_.Block(layer).ffn.router->top_k; }
  bool OfEncoder(int64_t layer) const { return layer >= std::ssize(spec_.layers) && !spec_.mtp; }
  // The block for multi-token prediction has no row at the last position, whose next token is not
  // known.
  bool has_mtp_rows() const { return spec_.mtp.has_value() && length_ > 1; }
  // Positions that the layer computes.
  int64_t RowLength(int64_t layer) const {
    if (layer < std::ssize(spec_.layers)) return length_;
    return spec_.mtp ? length_ - 1 : std::ssize(input_.rows.front().source);
  }
  std::string RouterName(int64_t layer, const char* what) const;
  std::vector<model::TensorDeclaration> Tensors(int greedy) const;
  absl::Status Write(const std::string& tensor, uint64_t position, uint64_t position_bytes,
                     const std::string& bytes);
  absl::Status TakeRouting(size_t row, int64_t first_position, const v1::LayerRouting& routing);
  void AddLoss(size_t row, const v1::EvaluateResponse& response);

  const model::ModelSpec& spec_;
  const EvalInput& input_;
  const int64_t length_;  // of every row, where they are written
  std::optional<model::SafetensorsWriter> writer_;
  std::mutex mutex_;
  std::vector<double> row_nll_;  // summed row by row, so that the sum does not depend on arrival
  std::vector<int64_t> row_tokens_;
};

std::string Results::RouterName(int64_t layer, const char* what) const {
  const bool encoder = OfEncoder(layer);
  const char* const stack = spec_.encoder_layers.empty() ? "" : encoder ? "encoder." : "decoder.";
  const int64_t index = encoder ? layer - std::ssize(spec_.layers) : layer;
  return absl::StrCat(stack, "router.", index, ".", what);
}

absl::Status Results::Open(const std::string& path, int greedy) {
  if (!input_.rectangular) {
    return absl::InvalidArgumentError("--out needs rows of equal length");
  }
  ASSIGN_OR_RETURN(writer_, model::SafetensorsWriter::Create(path, Tensors(greedy)));
  return absl::OkStatus();
}

std::vector<model::TensorDeclaration> Results::Tensors(int greedy) const {
  using model::StoredType;
  const auto rows = static_cast<int64_t>(input_.rows.size());
  std::vector<model::TensorDeclaration> tensors = {
      {"logits", StoredType::kF32, {rows, length_, spec_.vocabulary}}};
  if (has_mtp_rows()) {
    tensors.push_back({"mtp_logits", StoredType::kF32, {rows, length_ - 1, spec_.vocabulary}});
    tensors.push_back({"mtp_hidden", StoredType::kF32, {rows, length_ - 1, spec_.hidden}});
  }
  for (const int64_t layer : has_mtp_rows() ? spec_.MoeBlocks() : spec_.MoeLayers()) {
    const std::vector<int64_t> shape = {rows, RowLength(layer), TopK(layer)};
    tensors.push_back({RouterName(layer, "ids"), StoredType::kI64, shape});
    tensors.push_back({RouterName(layer, "weights"), StoredType::kF32, shape});
  }
  if (greedy > 0) tensors.push_back({"greedy_ids", StoredType::kI64, {rows, greedy}});
  return tensors;
}

absl::Status Results::Take(size_t row, const v1::EvaluateResponse& response) {
  AddLoss(row, response);
  if (!writes()) return absl::OkStatus();
  const uint64_t position = row * length_ + response.first_position();
  const uint64_t vocabulary_bytes = spec_.vocabulary * sizeof(float);
  RETURN_IF_ERROR(Write("logits", position, vocabulary_bytes, response.logits()));
  for (const v1::LayerRouting& routing : response.routing()) {
    RETURN_IF_ERROR(TakeRouting(row, response.first_position(), routing));
  }
  const uint64_t mtp_position = row * (length_ - 1) + response.first_position();
  RETURN_IF_ERROR(Write("mtp_logits", mtp_position, vocabulary_bytes, response.mtp_logits()));
  return Write("mtp_hidden", mtp_position, spec_.hidden * sizeof(float), response.mtp_hidden());
}

// From `position` on, counted over all rows; nothing where there are no bytes.
absl::Status Results::Write(const std::string& tensor, uint64_t position, uint64_t position_bytes,
                            const std::string& bytes) {
  if (bytes.empty()) return absl::OkStatus();
  return writer_->Write(tensor, position * position_bytes, bytes.data(), bytes.size());
}

absl::Status Results::TakeRouting(size_t row, int64_t first_position,
                                  const v1::LayerRouting& routing) {
  const auto k = static_cast<uint64_t>(TopK(routing.layer()));
  const uint64_t position = row * RowLength(routing.layer()) + first_position;
  std::vector<int64_t> ids(routing.ids().size() / sizeof(int32_t));
  for (size_t i = 0; i < ids.size(); ++i) {
    int32_t id;
    std::memcpy(&id, routing.ids().data() + i * sizeof(id), sizeof(id));
    ids[i] = id;
  }
  RETURN_IF_ERROR(writer_->Write(RouterName(routing.layer(), "ids"), position * k * sizeof(int64_t),
                                 ids.data(), ids.size() * sizeof(int64_t)));
  return Write(RouterName(routing.layer(), "weights"), position, k * sizeof(float),
               routing.weights());
}

void Results::AddLoss(size_t row, const v1::EvaluateResponse& response) {
  const std::vector<bool>& counted = input_.rows[row].counted;
  std::lock_guard lock(mutex_);
  for (int i = 0; i < response.token_nll_size(); ++i) {
    const size_t token = response.first_position() + i + 1;
    if (!counted.empty() && !counted[token]) continue;
    row_nll_[row] += response.token_nll(i);
    ++row_tokens_[row];
  }
}

absl::Status Results::TakeGreedy(size_t row, const std::vector<int64_t>& ids) {
  return writer_->Write("greedy_ids", row * ids.size() * sizeof(int64_t), ids.data(),
                        ids.size() * sizeof(int64_t));
}

absl::Status Results::Finish() {
  if (writes()) RETURN_IF_ERROR(writer_->Finish());
  double nll = 0;
  int64_t tokens = 0;
  for (size_t row = 0; row < row_nll_.size(); ++row) {
    nll += row_nll_[row];
    tokens += row_tokens_[row];
  }
  if (tokens > 0) {
    printf("tokens %lld, negative log-likelihood %.6f per token, perplexity %.4f\n",
           static_cast<long long>(tokens), nll / tokens, std::exp(nll / tokens));
  }
  return absl::OkStatus();
}

absl::StatusOr<EvalInput> ReadInput(const EvalOptions& options, const model::ModelSpec& spec) {
  const bool has_encoder = !spec.encoder_layers.empty();
  if (!options.tokens.empty()) {
    ASSIGN_OR_RETURN(EvalInput input, ReadEvalInput(options.tokens));
    if (has_encoder) {
      RETURN_IF_ERROR(SplitSource(static_cast<int32_t>(spec.decoder_start_token), input));
    } else if (!input.decoder_ids.empty()) {
      return absl::InvalidArgumentError("decoder_input_ids, but the model has no encoder");
    }
    return input;
  }
  if (has_encoder) {
    return absl::InvalidArgumentError(
        "--text: a text has a perplexity only beside what the encoder reads; give --tokens");
  }
  ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(options.text, kMaxTextBytes));
  ASSIGN_OR_RETURN(const auto tokenizer, tokenizer::Tokenizer::Open(options.layout.model));
  ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer->Encode(text, false));
  EvalInput input = CutIntoRows(ids, std::min<int64_t>(spec.max_positions, 2048), spec.bos_token);
  if (input.rows.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--text: ", options.text, " has no token that others come before"));
  }
  return input;
}

// The rows of one router worker: first .. with a step, all in one call so that they are batched.
absl::Status EvaluateRows(Stub& stub, const EvalInput& input, size_t first, size_t step,
                          Results& results) {
  v1::EvaluateRequest request;
  request.set_logits(results.writes());
  request.set_routing(results.writes());
  request.set_mtp(results.writes_mtp());
  request.set_token_nll(true);
  for (size_t row = first; row < input.rows.size(); row += step) {
    const std::vector<int32_t>& ids = input.rows[row].ids;
    const std::vector<int32_t>& source = input.rows[row].source;
    v1::TokenRow* const added = request.add_rows();
    added->mutable_ids()->Add(ids.begin(), ids.end());
    added->mutable_source_ids()->Add(source.begin(), source.end());
  }
  if (request.rows().empty()) return absl::OkStatus();
  const auto context = runtime::NewContext(kEvaluationLimit);
  const auto stream = stub.Evaluate(context.get(), request);
  v1::EvaluateResponse response;
  absl::Status taken;
  while (taken.ok() && stream->Read(&response)) {
    taken = results.Take(first + response.row() * step, response);
  }
  if (!taken.ok()) context->TryCancel();
  const grpc::Status ended = stream->Finish();
  return taken.ok() ? runtime::FromGrpc(ended) : taken;
}

absl::Status ContinueGreedily(Stub& stub, const EvalInput& input, size_t first, size_t step,
                              int greedy, Results& results) {
  for (size_t row = first; row < input.rows.size(); row += step) {
    v1::GenerateRequest request;
    request.set_request_id(absl::StrCat("eval-", row));
    const EvalRow& input_row = input.rows[row];
    const std::vector<int32_t>& prompt =
        input_row.source.empty() ? input_row.ids : input_row.source;
    request.mutable_prompt_ids()->Add(prompt.begin(), prompt.end());
    request.set_max_tokens(static_cast<uint32_t>(greedy));
    request.set_ignore_eos(true);
    request.set_logprobs(-1);
    request.set_prompt_logprobs(-1);
    request.mutable_sampling()->set_top_p(1.0f);
    const auto context = runtime::NewContext(kEvaluationLimit);
    const auto stream = stub.Generate(context.get(), request);
    std::vector<int64_t> ids;
    v1::GenerateResponse response;
    while (stream->Read(&response)) {
      ids.insert(ids.end(), response.token_ids().begin(), response.token_ids().end());
    }
    RETURN_IF_ERROR(runtime::FromGrpc(stream->Finish()));
    if (ids.size() != static_cast<size_t>(greedy)) {
      return absl::InternalError(
          absl::StrCat("row ", row, ": ", ids.size(), " tokens instead of ", greedy));
    }
    RETURN_IF_ERROR(results.TakeGreedy(row, ids));
  }
  return absl::OkStatus();
}

// One thread a router worker; the first error wins.
absl::Status OnEveryWorker(size_t workers, const std::function<absl::Status(size_t)>& work) {
  std::vector<absl::Status> statuses(workers);
  std::vector<std::thread> threads;
  for (size_t worker = 0; worker < workers; ++worker) {
    threads.emplace_back([&, worker] { statuses[worker] = work(worker); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : statuses) RETURN_IF_ERROR(status);
  return absl::OkStatus();
}

}  // namespace

void AddEvalFlags(CLI::App& app, EvalOptions& options) {
  app.add_option("model", options.layout.model, "Checkpoint folder")->required();
  auto* source = app.add_option_group("input")->require_option(1);
  source->add_option("--tokens", options.tokens,
                     "JSON file: {\"input_ids\": [[...], ...]}, with an encoder also "
                     "\"decoder_input_ids\", or rows with a mask of replies");
  source->add_option("--text", options.text, "Text file whose perplexity is printed");
  app.add_option(
      "--out", options.out,
      "Writes logits and routing (weight 0: dropped by a capacity) to this safetensors file");
  app.add_option("--greedy", options.greedy, "Also generates this many tokens after each row")
      ->check(CLI::Range(0, 1 << 20));
  AddLayoutFlags(app, options.layout);
}

absl::Status RunEval(const EvalOptions& options) {
  if (options.greedy > 0 && options.out.empty()) {
    return absl::InvalidArgumentError("--greedy writes greedy_ids: give --out");
  }
  ASSIGN_OR_RETURN(const auto checkpoint, model::Checkpoint::Open(options.layout.model));
  const model::ModelSpec& spec = checkpoint.spec();
  ASSIGN_OR_RETURN(const EvalInput input, ReadInput(options, spec));
  Results results(spec, input);
  if (!options.out.empty()) RETURN_IF_ERROR(results.Open(options.out, options.greedy));

  LayoutOptions layout = options.layout;
  // Router workers load the block only where it is to guess.
  if (results.writes_mtp())
    layout.num_speculative_tokens = std::max(1, layout.num_speculative_tokens);
  ASSIGN_OR_RETURN(const auto cluster, LocalCluster::Start(layout, GatewayFlags{}));
  std::vector<std::unique_ptr<Stub>> stubs;
  for (const std::string& address : cluster->router_addresses()) {
    stubs.push_back(v1::RouterWorker::NewStub(runtime::NewChannel(address)));
  }
  RETURN_IF_ERROR(OnEveryWorker(stubs.size(), [&](size_t worker) {
    return EvaluateRows(*stubs[worker], input, worker, stubs.size(), results);
  }));
  if (options.greedy > 0) {
    RETURN_IF_ERROR(OnEveryWorker(stubs.size(), [&](size_t worker) {
      return ContinueGreedily(*stubs[worker], input, worker, stubs.size(), options.greedy, results);
    }));
  }
  cluster->Stop(std::chrono::seconds(5));
  return results.Finish();
}

}  // namespace switchyard::cli
