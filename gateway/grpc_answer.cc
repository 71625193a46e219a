#include "gateway/grpc_answer.h"

#include "gateway/proto_json.h"

namespace switchyard::gateway {
namespace {

constexpr std::string_view kEventStart = "data: ";

std::string MessageOf(const Json& answer) {
  const auto error = answer.find("error");
  return error == answer.end() ? "" : error->value("message", "");
}

// The error of a stream has no status of HTTP any more.
grpc::StatusCode CodeOfType(const std::string& type) {
  if (type == "service_unavailable_error") return grpc::StatusCode::UNAVAILABLE;
  if (type == "invalid_request_error") return grpc::StatusCode::INVALID_ARGUMENT;
  return grpc::StatusCode::INTERNAL;
}

grpc::StatusCode CodeOf(int status) {
  switch (status) {
    case 200:
      return grpc::StatusCode::OK;
    case 400:
      return grpc::StatusCode::INVALID_ARGUMENT;
    case 401:
      return grpc::StatusCode::UNAUTHENTICATED;
    case 404:
      return grpc::StatusCode::NOT_FOUND;
    case 413:
    case 429:
      return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case 503:
      return grpc::StatusCode::UNAVAILABLE;
    default:
      return grpc::StatusCode::INTERNAL;
  }
}

}  // namespace

grpc::Status StatusOf(const HttpResponse& response) {
  const grpc::StatusCode code = CodeOf(response.status);
  if (code == grpc::StatusCode::OK) return grpc::Status::OK;
  return {code, MessageOf(Json::parse(response.body, nullptr, /*allow_exceptions=*/false))};
}

void ReadAnswer(const std::string& json, google::protobuf::Message* message) {
  FromJson(Json::parse(json, nullptr, /*allow_exceptions=*/false), message);
}

bool ReadEvent(std::string_view event, google::protobuf::Message* message, grpc::Status* status) {
  if (!event.starts_with(kEventStart)) return false;
  event.remove_prefix(kEventStart.size());
  const Json json = Json::parse(event, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return false;  // the end mark
  if (json.contains("error")) {
    *status = {CodeOfType(json["error"].value("type", "")), MessageOf(json)};
    return false;
  }
  FromJson(json, message);
  return true;
}

void AddHeaders(const HttpResponse& response, grpc::CallbackServerContext* context) {
  for (const auto& [name, value] : response.headers) {
    if (name == "X-Request-Id") context->AddInitialMetadata("x-request-id", value);
  }
}

void GrpcExchange::OnDisconnect(std::function<void()> gone) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!gone_already_) {
      if (!over_) gone_ = std::move(gone);
      return;
    }
  }
  gone();
}

bool GrpcExchange::End() {
  std::lock_guard<std::mutex> lock(mutex_);
  return !std::exchange(over_, true);
}

void GrpcExchange::Gone() {
  std::function<void()> gone;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (over_) return;
    gone_already_ = true;
    gone = std::exchange(gone_, nullptr);
  }
  if (gone) gone();
}

}  // namespace switchyard::gateway
