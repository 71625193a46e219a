#pragma once

// The command line's HTTP client, over libcurl: chat and bench talk to a gateway as any client
// does.

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/base/clock.h"

namespace switchyard::cli {

struct HttpRequest {
  std::string url;
  std::string json_body;  // empty: GET
  std::string api_key;    // empty: no Authorization header
  Duration timeout = std::chrono::minutes(10);
};

// The body of a 200 answer. Other codes: UNAVAILABLE or INVALID_ARGUMENT with the server's message.
absl::StatusOr<std::string> FetchHttp(const HttpRequest& request);

// A streaming answer (server-sent events): calls `on_event` with the text after "data: " of each
// event, until it returns false, or the stream ends ("[DONE]" is passed on).
absl::Status StreamHttp(const HttpRequest& request,
                        const std::function<bool(std::string_view)>& on_event);

}  // namespace switchyard::cli
