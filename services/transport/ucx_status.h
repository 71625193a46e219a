#pragma once

// The one place where UCX's status codes become ours.

#include <ucs/type/status.h>

#include <string_view>

#include "absl/status/status.h"

namespace switchyard::transport {

// `what` says what was tried, and on what.
absl::Status FromUcx(ucs_status_t status, std::string_view what);

}  // namespace switchyard::transport
