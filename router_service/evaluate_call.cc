#include "router_service/evaluate_call.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "router_service/wire.h"

namespace switchyard::router {
namespace {

constexpr int kRowsAtATime = 16;
constexpr size_t kMessageBytes = size_t{1} << 20;
// No more is computed while this much waits to be written.
constexpr size_t kQueueBytes = size_t{32} << 20;

}  // namespace

// The sink of one row.
class EvaluateCall::Row : public EvaluationSink {
 public:
  Row(std::shared_ptr<EvaluateCall> call, uint32_t row) : call_(std::move(call)), row_(row) {}

  void Piece(EvaluationPiece piece) override {
    ToProto(row_, piece, kMessageBytes,
            [this](v1::EvaluateResponse response) { call_->Send(std::move(response)); });
    if (piece.last) call_->RowEnded();
  }
  void Fail(const absl::Status& status) override { call_->RowFailed(status); }
  bool HasRoom() const override { return call_->HasRoom(); }

 private:
  const std::shared_ptr<EvaluateCall> call_;
  const uint32_t row_;
};

grpc::ServerWriteReactor<v1::EvaluateResponse>* EvaluateCall::Start(
    Engine& engine, const v1::EvaluateRequest& request, TimePoint deadline) {
  const std::shared_ptr<EvaluateCall> call(new EvaluateCall(engine, request, deadline));
  call->KeepAlive(call);
  call->weak_ = call;
  if (request.rows().empty()) {
    call->End(absl::InvalidArgumentError("rows: is empty"));
  } else {
    call->StartRows();
  }
  return call.get();
}

EvaluateCall::EvaluateCall(Engine& engine, const v1::EvaluateRequest& request, TimePoint deadline)
    : engine_(engine), request_(request), deadline_(deadline) {}

// Hands rows to the engine up to the limit; ends the call when all are done.
void EvaluateCall::StartRows() {
  absl::Status status;
  bool done;
  {
    std::lock_guard lock(mutex_);
    while (!stopped_ && next_row_ < request_.rows_size() && running_ < kRowsAtATime) {
      status = StartRow(next_row_);
      if (!status.ok()) break;
      ++next_row_;
      ++running_;
    }
    // With the engine full, the next row has its turn when one of ours ends.
    if (absl::IsResourceExhausted(status) && running_ > 0) status = absl::OkStatus();
    done = !stopped_ && next_row_ == request_.rows_size() && running_ == 0;
    stopped_ = stopped_ || done;
  }
  if (!status.ok()) {
    RowFailed(status);
  } else if (done) {
    End(absl::OkStatus());
  }
}

// With the lock held: the engine calls no sink from inside Evaluate.
absl::Status EvaluateCall::StartRow(int row) {
  const auto& ids = request_.rows(row).ids();
  const auto& source = request_.rows(row).source_ids();
  const absl::StatusOr<uint64_t> id =
      engine_.Evaluate({.tokens = {ids.begin(), ids.end()},
                        .source = {source.begin(), source.end()},
                        .logits = request_.logits(),
                        .routing = request_.routing(),
                        .token_nll = request_.token_nll(),
                        .mtp = request_.mtp(),
                        .deadline = deadline_},
                       std::make_shared<Row>(weak_.lock(), static_cast<uint32_t>(row)));
  if (!id.ok()) {
    return absl::Status(id.status().code(), absl::StrCat("row ", row, ": ", id.status().message()));
  }
  ids_.push_back(*id);
  return absl::OkStatus();
}

void EvaluateCall::RowEnded() {
  {
    std::lock_guard lock(mutex_);
    --running_;
  }
  StartRows();
}

void EvaluateCall::RowFailed(const absl::Status& status) {
  End(status);
  StopRows();
}

void EvaluateCall::StopRows() {
  std::vector<uint64_t> ids;
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    ids.swap(ids_);
  }
  for (const uint64_t id : ids) engine_.Cancel(id);
}

bool EvaluateCall::HasRoom() const { return queued_bytes() < kQueueBytes; }

void EvaluateCall::Written() {
  if (HasRoom()) engine_.Wake();
}

}  // namespace switchyard::router
