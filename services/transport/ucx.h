#pragma once

// The UCX backend, for processes on one host or many. Between processes of one host a channel's
// slots are memory that UCX maps into both ("ucx posix"); otherwise frames travel as UCX active
// messages over TCP or whatever faster network UCX finds ("ucx tcp", ...). docs/transport.md
// describes both, and how a lost peer is noticed and left behind.

#include <memory>

#include "absl/status/statusor.h"
#include "services/transport/transport.h"
#include "services/transport/ucx_options.h"

namespace switchyard::transport {

class UcxTransport : public Transport {
 public:
  static absl::StatusOr<std::unique_ptr<UcxTransport>> Start(const UcxOptions& options);
};

}  // namespace switchyard::transport
