#include "router_service/sampler.h"

#include "services/runtime/device_work.h"

namespace switchyard::router {

void Sampler::Choose(std::span<WantedRow> rows, const float* logits) {
  Clear();
  for (int32_t row = 0; row < std::ssize(rows); ++row) {
    const Task& task = *rows[row].task;
    const kernels::SamplingParameters* const parameters = task.SamplingAt(rows[row].position);
    if (parameters == nullptr) continue;
    if (task.EditsLogits(rows[row].position)) {
      if (edited_.empty() || rows[rows_[edited_.back()]].task != &task) {
        edited_begins_.push_back(static_cast<int32_t>(edited_.size()));
      }
      edited_.push_back(static_cast<int32_t>(rows_.size()));
    }
    Add(row, logits + row * vocabulary_, *parameters, rows[row].position + 1);
  }
  if (!edited_.empty()) Edit(rows);
  Sample(rows);
}

void Sampler::Guess(std::span<WantedRow> rows, const float* logits) {
  Clear();
  for (int32_t row = 0; row < std::ssize(rows); ++row) {
    if (rows[row].task->mtp_use() != MtpUse::kGuess) continue;
    Add(row, logits + row * vocabulary_, {.temperature = 0}, rows[row].position + 2);
  }
  Sample(rows);
}

void Sampler::Clear() {
  rows_.clear();
  logits_.clear();
  parameters_.clear();
  positions_.clear();
  edited_.clear();
  edited_begins_.clear();
}

void Sampler::Add(int32_t row, const float* logits, const kernels::SamplingParameters& parameters,
                  int64_t position) {
  rows_.push_back(row);
  logits_.push_back(logits);
  parameters_.push_back(parameters);
  positions_.push_back(position);
}

// Tasks edit side by side.
void Sampler::Edit(std::span<const WantedRow> rows) {
  edited_logits_.Reserve(edited_.size() * static_cast<size_t>(vocabulary_) * sizeof(float));
  const auto vocabulary = static_cast<size_t>(vocabulary_);
  const int64_t tasks = std::ssize(edited_begins_);
  edited_begins_.push_back(static_cast<int32_t>(edited_.size()));
  device_.pool().ParallelFor(tasks, [&](int64_t task, int) {
    for (int32_t i = edited_begins_[task]; i < edited_begins_[task + 1]; ++i) {
      const WantedRow& row = rows[rows_[edited_[i]]];
      const float*& logits = logits_[edited_[i]];
      float* const edited = edited_logits_.As<float>() + i * vocabulary_;
      row.task->EditLogits(row.position, {logits, vocabulary}, {edited, vocabulary});
      logits = edited;
    }
  });
}

void Sampler::Sample(std::span<WantedRow> rows) {
  if (rows_.empty()) return;
  tokens_.resize(rows_.size());
  SampleOn(device_, {.rows = std::ssize(rows_),
                     .vocabulary = vocabulary_,
                     .logits = logits_.data(),
                     .parameters = parameters_.data(),
                     .positions = positions_.data(),
                     .tokens = tokens_.data()});
  for (size_t i = 0; i < rows_.size(); ++i) rows[rows_[i]].token = tokens_[i];
}

}  // namespace switchyard::router
