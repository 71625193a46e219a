#pragma once

// Which rows of a request a model must compute in one piece: an encoder sees all of its source, and
// rows that share the capacity of experts must be routed together. What is not causal cannot be cut
// into chunks, shared by prefix, or computed again with other rows beside it.

#include <cstdint>

#include "services/model/model_spec.h"

namespace switchyard::model {

struct WholeRows {
  bool evaluations = false;  // a full pass has a capacity
  bool prompts = false;      // generation has one, so the prompt is routed as a whole
  bool sources = false;      // there is an encoder
  bool any() const { return evaluations || prompts || sources; }
};

WholeRows WholeRowsOf(const ModelSpec& spec);

// Rows that a micro-batch must hold: `batch_rows`, and where rows cannot be cut as many as the
// model has positions, up to a bound on the workspaces' memory that only a larger `batch_rows`
// lifts.
int64_t MicroBatchRows(const ModelSpec& spec, int64_t batch_rows);

}  // namespace switchyard::model
