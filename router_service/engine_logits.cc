// The engine's logits: of passes that are through, and of rows that their tasks kept.

#include <algorithm>
#include <span>

#include "router_service/engine.h"

namespace switchyard::router {

// Computes the logits that tasks want of a pass that is through, block by block, and hands them
// out.
void Engine::TakeLogits(uint32_t index) {
  const Flight& flight = flights_[index];
  for (const Part& part : flight.parts) {
    if (part.task->ended) continue;
    for (int64_t i = 0; i < part.rows; ++i) {
      const int64_t row = part.first_row + i;
      if (pipeline_->batch(index).RowFailed(row)) break;
      const int64_t position = part.first_position + i;
      if (!(flight.mtp_passes == 0 ? part.task->WantsLogits(position)
                                   : part.task->WantsMtpLogits(position))) {
        continue;
      }
      wanted_.push_back({.task = part.task, .position = position});
      wanted_rows_.push_back(static_cast<int32_t>(row));
      if (std::ssize(wanted_) == kLogitsRows) TakeLogitsBlock(index);
    }
  }
  if (!wanted_.empty()) TakeLogitsBlock(index);
}

void Engine::TakeLogitsBlock(uint32_t index) {
  pipeline_->Logits(index, wanted_rows_, logits_.As<float>());
  const bool mtp = flights_[index].mtp_passes > 0;
  mtp ? sampler_.Guess(wanted_, logits_.As<float>())
      : sampler_.Choose(wanted_, logits_.As<float>());
  // Rows of one task stand together, so tasks can take theirs side by side.
  const int64_t rows = std::ssize(wanted_);
  task_begins_.clear();
  for (int64_t row = 0; row < rows; ++row) {
    if (row == 0 || wanted_[row].task != wanted_[row - 1].task) task_begins_.push_back(row);
  }
  const int64_t tasks = std::ssize(task_begins_);
  task_begins_.push_back(rows);
  taken_.assign(tasks, absl::OkStatus());
  device_.pool().ParallelFor(tasks, [this, mtp](int64_t task, int) {
    for (int64_t row = task_begins_[task]; row < task_begins_[task + 1]; ++row) {
      const std::span logits(logits_.As<float>() + row * limits_.vocabulary,
                             static_cast<size_t>(limits_.vocabulary));
      const WantedRow& wanted = wanted_[row];
      if (mtp) {
        wanted.task->TakeMtpLogits(wanted.position, logits, wanted.token);
      } else {
        taken_[task].Update(wanted.task->TakeLogits(wanted.position, logits, wanted.token));
      }
    }
  });
  for (int64_t task = 0; task < tasks; ++task) {
    if (!taken_[task].ok()) Fail(*wanted_[task_begins_[task]].task, taken_[task]);
  }
  wanted_.clear();
  wanted_rows_.clear();
}

// The next block of rows that were kept, of the oldest task that has room for it, with the
// workspaces of an idle micro-batch. False when there is none.
bool Engine::TakeKeptLogits(uint32_t index) {
  Task* oldest = nullptr;
  for (const auto& [id, task] : tasks_) {
    if (task->kept_rows().empty() || !task->HasRoom()) continue;
    if (oldest == nullptr || id < oldest->sequence.id) oldest = task.get();
  }
  if (oldest == nullptr) return false;
  const std::span<const float> rows = oldest->kept_rows();
  const size_t count = rows.size() / pipeline_->spec().hidden;
  pipeline_->LogitsOf(rows, index, logits_.As<float>());
  const std::span<const float> logits(logits_.As<float>(), count * limits_.vocabulary);
  const absl::StatusOr<bool> finished = oldest->TakeKeptLogits(logits);
  if (!finished.ok()) {
    Fail(*oldest, finished.status());
  } else if (*finished) {
    End(*oldest);
  }
  return true;
}

}  // namespace switchyard::router
