#pragma once

// Choice of the next tokens of the rows of a block of logits: one call of the device for all of
// them. A choice depends on the logits, the parameters, the absolute position, the tokens before it
// and the banned ones only, so a request that moves to another worker goes on the same.
//
// What a request changes in its logits is done on the host, into copies of these rows, since it
// touches few of them and follows from the sequence's tokens, which are here. No other row's logits
// are read by the host.

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/base/buffer.h"
#include "kernels/device/device.h"
#include "kernels/sampling/sampling.h"
#include "router_service/task.h"

namespace switchyard::router {

struct WantedRow {
  Task* task = nullptr;
  int64_t position = 0;
  int32_t token = -1;  // that was chosen; -1 also where nothing can be
};

// Memory grows to what the largest block needs.
class Sampler {
 public:
  // The device must outlive it.
  Sampler(kernels::Device& device, int64_t vocabulary) : device_(device), vocabulary_(vocabulary) {}

  // Sets the tokens of the rows that choose one. `rows`: of one task together, positions ascending.
  // `logits`: [rows][vocabulary] of the device, which has computed them.
  void Choose(std::span<WantedRow> rows, const float* logits);

  // The same for the guesses of the block for multi-token prediction: each row's most likely token.
  void Guess(std::span<WantedRow> rows, const float* logits);

 private:
  void Clear();
  void Add(int32_t row, const float* logits, const kernels::SamplingParameters& parameters,
           int64_t position);
  void Edit(std::span<const WantedRow> rows);
  void Sample(std::span<WantedRow> rows);

  kernels::Device& device_;
  const int64_t vocabulary_;
  // What the device takes, and whose it is.
  std::vector<int32_t> rows_;
  std::vector<const float*> logits_;
  std::vector<kernels::SamplingParameters> parameters_;
  std::vector<int64_t> positions_;
  std::vector<int32_t> tokens_;
  // Which of these are edited, [edited][vocabulary], and where each task's begin.
  std::vector<int32_t> edited_;
  std::vector<int32_t> edited_begins_;
  kernels::Buffer edited_logits_;
};

}  // namespace switchyard::router
