#include "gateway/api_error.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace switchyard::gateway {
namespace {

const char* TypeOf(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "service_unavailable_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

// How a router worker begins to say that experts are lost. Whatever stands before may name hosts.
constexpr char kLostExperts[] = "no reachable host owns expert";

// Which experts are lost, if that is the cause.
std::string LostExperts(const absl::Status& status) {
  const std::string message(status.message());
  const size_t cause = message.find(kLostExperts);
  return cause == std::string::npos ? "" : ": " + message.substr(cause);
}

}  // namespace

ApiError InvalidField(std::string field, const std::string& problem) {
  std::string message = field + ": " + problem;
  return {.status = 400, .message = std::move(message), .param = std::move(field)};
}

ApiError NotFound(std::string message, std::string code) {
  return {.status = 404, .message = std::move(message), .code = std::move(code)};
}

ApiError Overloaded(std::string message, std::string code) {
  return {.status = 503, .message = std::move(message), .code = std::move(code)};
}

bool IsCapacityLost(const absl::Status& status) {
  return absl::IsUnavailable(status) && !LostExperts(status).empty();
}

ApiError FromWorkerStatus(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return {.status = 400, .message = std::string(status.message())};
    case absl::StatusCode::kResourceExhausted:
      return Overloaded("all queues are full; try again later", "queue_full");
    case absl::StatusCode::kUnavailable:
      return Overloaded("no router worker can serve this request now" + LostExperts(status),
                        "capacity_lost");
    case absl::StatusCode::kDeadlineExceeded:
      return Overloaded("the request was not done within its deadline", "deadline_exceeded");
    default:
      return {.status = 500, .message = "the router worker failed", .code = "internal_error"};
  }
}

std::string ErrorJson(const ApiError& error) {
  const auto or_null = [](const std::string& text) {
    return text.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(text);
  };
  const nlohmann::ordered_json json = {{"error",
                                        {{"message", error.message},
                                         {"type", TypeOf(error.status)},
                                         {"param", or_null(error.param)},
                                         {"code", or_null(error.code)}}}};
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

HttpResponse ErrorResponse(const ApiError& error) {
  HttpResponse response{.status = error.status, .body = ErrorJson(error)};
  if (error.status == 429 || error.status == 503) response.headers.push_back({"Retry-After", "1"});
  if (error.status == 401) response.headers.push_back({"WWW-Authenticate", "Bearer"});
  return response;
}

}  // namespace switchyard::gateway
