#include "cli/status.h"

#include <google/protobuf/util/json_util.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/layout_options.h"
#include "proto/coordinator.grpc.pb.h"
#include "proto/expert_host.grpc.pb.h"
#include "proto/router_worker.grpc.pb.h"
#include "services/base/status_macros.h"
#include "services/runtime/grpc_client.h"
#include "services/runtime/grpc_status.h"

namespace switchyard::cli {
namespace {

constexpr Duration kCallLimit = std::chrono::seconds(3);

nlohmann::json ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  if (!status.ok()) return {{"error", "cannot be shown as JSON"}};
  return nlohmann::json::parse(text, nullptr, false);
}

// What a member says of itself.
template <typename Service, typename Request, typename Response>
nlohmann::json AskMember(const std::string& address) {
  const auto stub = Service::NewStub(runtime::NewChannel(address));
  const auto context = runtime::NewContext(kCallLimit);
  Response response;
  const grpc::Status status = stub->Status(context.get(), Request(), &response);
  if (!status.ok()) return {{"error", status.error_message()}};
  return ToJson(response);
}

}  // namespace

void AddStatusFlags(CLI::App& app, StatusOptions& options) {
  AddFlag(app, "--coordinator", options.coordinator, "HOST:PORT of the coordinator")->required();
}

void AddDrainFlags(CLI::App& app, DrainOptions& options) {
  AddFlag(app, "--coordinator", options.coordinator, "HOST:PORT of the coordinator")->required();
  app.add_option("name", options.name, "Member to take out, for example expert-host-1")->required();
}

absl::Status RunStatus(const StatusOptions& options) {
  const auto stub = v1::Coordinator::NewStub(runtime::NewChannel(options.coordinator));
  const auto context = runtime::NewContext(kCallLimit);
  v1::ClusterStatus cluster;
  RETURN_IF_ERROR(runtime::FromGrpc(stub->Status(context.get(), v1::StatusRequest(), &cluster)));
  nlohmann::json json = ToJson(cluster);
  json["expert_hosts"] = nlohmann::json::object();
  json["router_workers"] = nlohmann::json::object();
  for (const v1::MemberStatus& member : cluster.members()) {
    const v1::Member& who = member.member();
    if (who.role() == v1::ROLE_EXPERT_HOST) {
      json["expert_hosts"][who.name()] =
          AskMember<v1::ExpertHost, v1::ExpertHostStatusRequest, v1::ExpertHostStatus>(
              who.control_address());
    } else {
      json["router_workers"][who.name()] =
          AskMember<v1::RouterWorker, v1::RouterWorkerStatusRequest, v1::RouterWorkerStatus>(
              who.control_address());
    }
  }
  printf("%s\n", json.dump(2).c_str());
  return absl::OkStatus();
}

absl::Status RunDrain(const DrainOptions& options) {
  const auto stub = v1::Coordinator::NewStub(runtime::NewChannel(options.coordinator));
  const auto context = runtime::NewContext(kCallLimit);
  v1::DrainRequest request;
  request.set_name(options.name);
  v1::DrainResponse response;
  return runtime::FromGrpc(stub->Drain(context.get(), request, &response));
}

}  // namespace switchyard::cli
