#include "cli/plan.h"

#include <cstdio>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/layout_options.h"
#include "cli/plan_report.h"
#include "services/base/file.h"
#include "services/base/status_macros.h"
#include "services/model/config_json.h"
#include "services/model/presets/presets.h"
#include "services/plan/hosts.h"
#include "services/plan/plan.h"

namespace switchyard::cli {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;
constexpr int64_t kMaxStreams = 1 << 20;
constexpr int64_t kMaxReplicas = 64;

// The config as its parser sees it; the name is what the user would call the model.
absl::Status ReadModel(const std::string& model, plan::PlanInput& input) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (fs::is_directory(model, ignored)) {
    const std::string path = (fs::path(model) / "config.json").string();
    ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path, kMaxConfigBytes));
    ASSIGN_OR_RETURN(input.spec, model::ParseConfig(text, path));
    input.name = fs::canonical(model, ignored).filename().string();
    return absl::OkStatus();
  }
  const std::string_view preset = model::FindPreset(model);
  if (preset.empty()) {
    return absl::NotFoundError(absl::StrCat("\"", model,
                                            "\" is neither a folder nor a preset; presets are ",
                                            absl::StrJoin(model::PresetNames(), ", ")));
  }
  input.name = model;
  ASSIGN_OR_RETURN(input.spec, model::ParseConfig(std::string(preset), model));
  return absl::OkStatus();
}

}  // namespace

void AddPlanFlags(CLI::App& app, PlanOptions& options) {
  app.add_option("model", options.model,
                 "Checkpoint folder, of which only config.json is read, or "
                 "a preset: " +
                     absl::StrJoin(model::PresetNames(), ", "))
      ->required();
  AddFlag(app, "--hosts", options.hosts,
          "Memory of the expert hosts: 8x80GiB, or unequal ones: 4x80GiB,2x40GiB");
  AddFlag(app, "--replicas", options.replicas, "Hosts that hold each expert")
      ->check(CLI::Range(int64_t{1}, kMaxReplicas));
  AddFlag(app, "--dtype", options.dtype, "Numerics class")
      ->check(CLI::IsMember({"fp32", "bf16", "bf16-sm90"}));
  AddFlag(app, "--context", options.context, "Tokens of a stream; 0: the model's limit")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 31));
  AddFlag(app, "--streams", options.streams, "Streams at a time in one router worker")
      ->check(CLI::Range(int64_t{1}, kMaxStreams));
  app.add_flag("--json", options.json, "Exact numbers as JSON");
}

absl::Status RunPlan(const PlanOptions& options) {
  plan::PlanInput input;
  input.replicas = options.replicas;
  input.context = options.context;
  input.streams = options.streams;
  input.numerics = *kernels::ParseNumericsClass(options.dtype);
  if (!options.hosts.empty()) {
    ASSIGN_OR_RETURN(input.hosts, plan::ParseHosts(options.hosts));
  }
  RETURN_IF_ERROR(ReadModel(options.model, input));
  if (input.context == 0) input.context = input.spec.max_positions;
  ASSIGN_OR_RETURN(const plan::Plan plan, plan::MakePlan(input));
  const std::string report =
      options.json ? PlanJson(input, plan).dump(2) + "\n" : PlanTable(input, plan);
  fputs(report.c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace switchyard::cli
