// The switchyard program: one binary, one subcommand a task.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>

#include "absl/strings/str_cat.h"
#include "cli/bench.h"
#include "cli/chat.h"
#include "cli/eval.h"
#include "cli/plan.h"
#include "cli/role.h"
#include "cli/role_flags.h"
#include "cli/serve.h"
#include "cli/status.h"
#include "services/base/log.h"
#include "services/base/version.h"

namespace switchyard::cli {
namespace {

constexpr char kExamples[] = R"(
Examples:
  switchyard serve models/demo                         serve on http://127.0.0.1:8000
  switchyard serve models/demo --expert-hosts 3 --replicas 2
  switchyard chat --url http://127.0.0.1:8000          talk to it
  switchyard chat models/demo --prompt "Who goes there?"
  switchyard eval models/demo --text play.txt          perplexity of a text
  switchyard eval models/demo --tokens in.json --out out.safetensors
  switchyard bench decode                              speed as a ratio to the machine's limits
  switchyard plan deepseek-v3 --hosts 16x96GiB         parameters, memory, what fits

Most flags have a twin in the environment, which --help shows: SWITCHYARD_EXPERT_HOSTS=3 is
--expert-hosts 3.
)";

int Report(const absl::Status& status) {
  if (status.ok()) return 0;
  fprintf(stderr, "switchyard: %s\n", std::string(status.message()).c_str());
  return 1;
}

int Main(int argc, char** argv) {
  CLI::App app("Serves Mixture-of-Experts models from separate expert hosts");
  app.footer(kExamples);
  app.set_version_flag("--version", absl::StrCat("switchyard ", kVersion));
  app.require_subcommand(1);

  ServeOptions serve;
  AddServeFlags(*app.add_subcommand("serve", "Serve a checkpoint over HTTP"), serve);
  ChatOptions chat;
  AddChatFlags(*app.add_subcommand("chat", "Talk to a model on the terminal"), chat);
  EvalOptions eval;
  AddEvalFlags(*app.add_subcommand("eval", "Logits, routing, loss of given tokens or text"), eval);
  BenchOptions bench;
  AddBenchFlags(*app.add_subcommand("bench", "Speed as a ratio to this machine's limits"), bench);
  PlanOptions plan;
  AddPlanFlags(*app.add_subcommand("plan", "Parameters, memory, traffic; reads no weights"), plan);
  StatusOptions status;
  AddStatusFlags(*app.add_subcommand("status", "Members, placement and load as JSON"), status);
  DrainOptions drain;
  AddDrainFlags(*app.add_subcommand("drain", "Move a host's experts away from it"), drain);
  RoleOptions role;
  AddRoleFlags(*app.add_subcommand("role", "Run one role; `serve` and Kubernetes use this"), role);

  CLI11_PARSE(app, argc, argv);
  const bool json_logs = serve.layout.json_logs || eval.layout.json_logs || chat.layout.json_logs ||
                         bench.layout.json_logs || role.json_logs;
  ConfigureLog(app.got_subcommand("role") ? role.name : "switchyard", json_logs);
  if (app.got_subcommand("serve")) return Report(RunServe(serve));
  if (app.got_subcommand("chat")) return Report(RunChat(chat));
  if (app.got_subcommand("eval")) return Report(RunEval(eval));
  if (app.got_subcommand("bench")) return Report(RunBench(bench));
  if (app.got_subcommand("plan")) return Report(RunPlan(plan));
  if (app.got_subcommand("status")) return Report(RunStatus(status));
  if (app.got_subcommand("drain")) return Report(RunDrain(drain));
  return Report(RunRole(role));
}

}  // namespace
}  // namespace switchyard::cli

int main(int argc, char** argv) { return switchyard::cli::Main(argc, argv); }
