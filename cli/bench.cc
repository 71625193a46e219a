#include "cli/bench.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "cli/bench_client.h"
#include "cli/local_cluster.h"
#include "cli/role_start.h"
#include "kernels/base/cpu.h"
#include "kernels/base/machine_limits.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/model/random_checkpoint.h"

namespace switchyard::cli {
namespace {

constexpr int kDecodePrompt = 16;  // short, so that decode is almost all of a decode request

// The 6.9B fine-grained design: 30 layers of it.
model::MixtralDimensions Dimensions(int layers) {
  return {.hidden = 768,
          .intermediate = 6144,
          .layers = layers,
          .heads = 12,
          .kv_heads = 1,
          .head_dim = 64,
          .experts = 16,
          .top_k = 4,
          .vocabulary = 32000};
}

// Weight elements that one step must read at least, and that one prompt token multiplies with.
class WorkOf {
 public:
  explicit WorkOf(const model::MixtralDimensions& d) : d_(d) {
    expert_ = 3.0 * d.hidden * d.intermediate;
    attention_ = 1.0 * d.hidden * (2 * d.heads + 2 * d.kv_heads) * d.head_dim;
    head_ = 1.0 * d.hidden * d.vocabulary;
    router_ = 1.0 * d.hidden * d.experts;
  }
  // Streams choose experts independently: the expected number of distinct ones is read.
  double DecodeStep(int streams) const {
    const double missed = std::pow(1.0 - 1.0 * d_.top_k / d_.experts, streams);
    const double experts = d_.experts * (1.0 - missed);
    return d_.layers * (attention_ + router_ + experts * expert_) + head_;
  }
  double PrefillToken() const { return d_.layers * (attention_ + router_ + d_.top_k * expert_); }

 private:
  const model::MixtralDimensions d_;
  double expert_, attention_, head_, router_;
};

struct Limits {
  double read_rate = 0;  // bytes per second
  double peak = 0;       // floating-point operations per second
};

std::vector<int32_t> RandomPrompt(int length, int64_t vocabulary, std::mt19937& random) {
  std::uniform_int_distribution<int32_t> token(0, static_cast<int32_t>(vocabulary) - 1);
  std::vector<int32_t> prompt(length);
  for (int32_t& id : prompt) id = token(random);
  return prompt;
}

// Sends one request a stream at once. `begin` is when they were sent.
absl::StatusOr<std::vector<RequestTimes>> RunStreams(BenchClient& client, int streams, int prompt,
                                                     int tokens, TimePoint* begin) {
  static std::mt19937 random(1);  // no two prompts share a prefix
  std::vector<std::vector<int32_t>> prompts;
  for (int i = 0; i < streams; ++i) prompts.push_back(RandomPrompt(prompt, 32000, random));
  std::vector<absl::StatusOr<RequestTimes>> answers(streams);
  std::vector<std::thread> threads;
  *begin = Clock::Real().Now();
  for (int i = 0; i < streams; ++i) {
    threads.emplace_back([&, i] { answers[i] = client.Generate(prompts[i], tokens); });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<RequestTimes> times;
  for (const auto& answer : answers) {
    RETURN_IF_ERROR(answer.status());
    times.push_back(*answer);
  }
  return times;
}

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

// Tokens per second of all streams together while every one of them decodes.
absl::StatusOr<double> DecodeRate(BenchClient& client, int streams, int tokens) {
  TimePoint begin;
  ASSIGN_OR_RETURN(const auto times, RunStreams(client, streams, kDecodePrompt, tokens, &begin));
  double rate = 0;
  for (const RequestTimes& time : times)
    rate += (time.tokens - 1) / Seconds(time.last - time.first);
  return rate;
}

absl::StatusOr<double> PrefillRate(BenchClient& client, int streams, int prompt) {
  TimePoint begin;
  ASSIGN_OR_RETURN(const auto times, RunStreams(client, streams, prompt, 1, &begin));
  TimePoint end = begin;
  for (const RequestTimes& time : times) end = std::max(end, time.first);
  return streams * prompt / Seconds(end - begin);
}

// The best of three: the machine may be shared, and a limit is compared with a limit.
template <typename Measure>
absl::StatusOr<double> Best(Measure measure) {
  double best = 0;
  for (int i = 0; i < 3; ++i) {
    ASSIGN_OR_RETURN(const double rate, measure());
    best = std::max(best, rate);
  }
  return best;
}

absl::Status MeasureLayout(const BenchOptions& options, const char* name, BenchClient& client,
                           const Limits& limits) {
  const WorkOf work(Dimensions(options.layers));
  const double bytes = options.layout.dtype == "fp32" ? 4 : 2;
  RETURN_IF_ERROR(DecodeRate(client, 1, 8).status());  // warm-up: first touch, channels, caches
  for (const int streams : options.streams) {
    if (options.what != "prefill") {
      ASSIGN_OR_RETURN(const double rate,
                       Best([&] { return DecodeRate(client, streams, options.generate); }));
      const double read = rate / streams * work.DecodeStep(streams) * bytes;
      printf("%-28s decode   %2d stream(s)  %8.1f tokens/s  %5.1f%% of the DRAM read rate\n", name,
             streams, rate, 100 * read / limits.read_rate);
    }
    if (options.what != "decode") {
      ASSIGN_OR_RETURN(const double rate,
                       Best([&] { return PrefillRate(client, streams, options.prompt); }));
      const double operations = rate * 2 * work.PrefillToken();
      printf("%-28s prefill  %2d stream(s)  %8.1f tokens/s  %5.1f%% of the dot-product peak\n",
             name, streams, rate, 100 * operations / limits.peak);
    }
    fflush(stdout);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> MakeCheckpoint(const BenchOptions& options, kernels::ThreadPool& pool) {
  std::string folder = options.folder;
  if (folder.empty()) {
    const char* home = getenv("HOME");
    folder = absl::StrCat(home == nullptr ? "/tmp" : home, "/.cache/switchyard/bench-",
                          options.layers, "-layers");
  }
  if (!std::filesystem::exists(folder + "/model.safetensors")) {
    LogInfo() << "writing a random checkpoint of " << options.layers << " layers to " << folder;
    std::filesystem::create_directories(std::filesystem::path(folder).parent_path());
    RETURN_IF_ERROR(model::WriteRandomCheckpoint(model::MixtralSpec(Dimensions(options.layers)), 1,
                                                 folder, pool));
  }
  return folder;
}

absl::StatusOr<Limits> MeasureLimits(const BenchOptions& options, kernels::ThreadPool& pool) {
  const auto numerics = kernels::ParseNumericsClass(options.layout.dtype);
  // The limits are the processor's, so no class of a GPU can be compared with them.
  if (!numerics.has_value() || *numerics == kernels::NumericsClass::kBf16Sm90) {
    return absl::InvalidArgumentError("bench needs --dtype fp32 or bf16");
  }
  const Limits limits = {kernels::MeasureDramReadRate(pool),
                         kernels::MeasureDotProductPeak(*numerics, pool)};
  printf("machine: %d threads, %s; DRAM read %.1f GB/s; %s dot-product peak %.3f TFLOP/s\n",
         pool.threads(), std::string(kernels::Name(kernels::ActiveCpuLevel())).c_str(),
         limits.read_rate / 1e9, options.layout.dtype.c_str(), limits.peak / 1e12);
  fflush(stdout);
  return limits;
}

}  // namespace

void AddBenchFlags(CLI::App& app, BenchOptions& options) {
  app.add_option("what", options.what, "all, decode or prefill")
      ->check(CLI::IsMember({"all", "decode", "prefill"}))
      ->capture_default_str();
  AddFlag(app, "--folder", options.folder, "Where the random checkpoint is or goes");
  AddFlag(app, "--layers", options.layers, "Layers of the model")->check(CLI::Range(1, 30));
  AddFlag(app, "--prompt", options.prompt, "Tokens of a prefill request")
      ->check(CLI::Range(1, 16384));
  AddFlag(app, "--generate", options.generate, "Tokens of a decode request")
      ->check(CLI::Range(2, 16384));
  app.add_option("--streams", options.streams, "Requests at once")->delimiter(',');
  AddLayoutFlags(app, options.layout);
}

absl::Status RunBench(const BenchOptions& options) {
  BenchOptions run = options;
  Limits limits;
  {
    const auto pool = MakeComputeThreads(options.layout.threads);
    ASSIGN_OR_RETURN(run.layout.model, MakeCheckpoint(options, *pool));
    ASSIGN_OR_RETURN(limits, MeasureLimits(options, *pool));
  }
  {
    LayoutOptions one_process = run.layout;
    one_process.in_process = true;
    one_process.expert_hosts = 1;
    one_process.transport = "loopback";
    ASSIGN_OR_RETURN(const auto cluster, LocalCluster::Start(one_process, GatewayFlags{}));
    const auto client = RouterClient(cluster->router_addresses().front());
    RETURN_IF_ERROR(MeasureLayout(run, "one process", *client, limits));
  }
  ASSIGN_OR_RETURN(const auto cluster, LocalCluster::Start(run.layout, {.start = true, .port = 0}));
  const auto client = GatewayClient(absl::StrCat("http://127.0.0.1:", cluster->gateway_port()));
  return MeasureLayout(
      run, absl::StrCat("gateway + router + ", run.layout.expert_hosts, " hosts").c_str(), *client,
      limits);
}

}  // namespace switchyard::cli
