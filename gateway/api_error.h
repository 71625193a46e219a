#pragma once

// Errors as clients see them. Messages name fields, limits and causes; never keys, prompts,
// generated text, paths or addresses of the server.

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "gateway/http_types.h"

namespace switchyard::gateway {

struct ApiError {
  int status = 500;
  std::string message;
  std::string param;  // the field at fault, empty if none
  std::string code;   // a word for programs, empty if none
};

ApiError InvalidField(std::string field, const std::string& problem);
ApiError NotFound(std::string message, std::string code);

// 503: try again soon.
ApiError Overloaded(std::string message, std::string code);

// A router worker waited in vain for experts that no host has. Other workers would too.
bool IsCapacityLost(const absl::Status& status);

// What a router worker's final status means for the client.
ApiError FromWorkerStatus(const absl::Status& status);

// {"error": {"message", "type", "param", "code"}}
std::string ErrorJson(const ApiError& error);

// With Retry-After where it belongs.
HttpResponse ErrorResponse(const ApiError& error);

}  // namespace switchyard::gateway
