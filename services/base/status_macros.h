#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define SWITCHYARD_CONCAT_INNER(a, b) a##b
#define SWITCHYARD_CONCAT(a, b) SWITCHYARD_CONCAT_INNER(a, b)

// Returns from the calling function when the Status expression is not OK.
#define RETURN_IF_ERROR(expression)                                                 \
  do {                                                                              \
    if (absl::Status status_macro_value = (expression); !status_macro_value.ok()) { \
      return status_macro_value;                                                    \
    }                                                                               \
  } while (false)

// ASSIGN_OR_RETURN(auto x, F()): assigns the value of a StatusOr or returns its error.
#define ASSIGN_OR_RETURN(left, expression) \
  ASSIGN_OR_RETURN_IMPL(SWITCHYARD_CONCAT(status_or_, __LINE__), left, expression)
#define ASSIGN_OR_RETURN_IMPL(holder, left, expression) \
  auto holder = (expression);                           \
  if (!holder.ok()) return std::move(holder).status();  \
  left = *std::move(holder)
