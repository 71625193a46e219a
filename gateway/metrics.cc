#include "gateway/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

namespace switchyard::gateway {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Registry;

const Histogram::BucketBoundaries kLongTimes = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
                                                0.25,  0.5,   0.75, 1,    2.5,  5,    7.5,  10,
                                                20,    40,    80,   160,  320,  640};
const Histogram::BucketBoundaries kTokenTimes = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                                 0.075,  0.1,   0.15,   0.2,   0.3,  0.4,   0.5,
                                                 0.75,   1,     2.5,    5,     10};

double Seconds(Duration time) { return std::chrono::duration<double>(time).count(); }

Counter& MakeCounter(Registry& registry, const char* name, const char* help) {
  return BuildCounter().Name(name).Help(help).Register(registry).Add({});
}

Histogram& MakeHistogram(Registry& registry, const char* name, const char* help,
                         const Histogram::BucketBoundaries& buckets) {
  return BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
}

// A counter that repeats a worker's own: grows by what the worker's number grew, and starts over
// with it.
class Follower {
 public:
  void Follow(Counter& counter, uint64_t total) {
    counter.Increment(static_cast<double>(total >= last_ ? total - last_ : total));
    last_ = total;
  }

 private:
  uint64_t last_ = 0;
};

}  // namespace

struct Metrics::Impl {
  struct Followed {
    Follower queries, hits, preemptions, draft_tokens, accepted_tokens;
  };
  struct WorkerGauges {
    Gauge* alive = nullptr;
    Gauge* kv_usage = nullptr;
  };

  WorkerGauges& GaugesOf(const std::string& worker);
  void ForgetAllBut(const std::vector<WorkerReport>& workers);

  Registry registry;
  Family<Counter>& http_responses = BuildCounter()
                                        .Name("switchyard_http_responses_total")
                                        .Help("HTTP responses by status code")
                                        .Register(registry);
  Family<Counter>& request_success = BuildCounter()
                                         .Name("switchyard_request_success_total")
                                         .Help("Choices that ended, by reason")
                                         .Register(registry);
  Family<Gauge>& kv_usage = BuildGauge()
                                .Name("switchyard_kv_cache_usage_ratio")
                                .Help("Share of the KV cache in use, by worker")
                                .Register(registry);
  Family<Gauge>& workers_alive = BuildGauge()
                                     .Name("switchyard_router_worker_up")
                                     .Help("Whether the router worker answers")
                                     .Register(registry);
  Gauge& running = BuildGauge()
                       .Name("switchyard_requests_running")
                       .Help("Requests in the batches of the router workers")
                       .Register(registry)
                       .Add({});
  Gauge& waiting = BuildGauge()
                       .Name("switchyard_requests_waiting")
                       .Help("Requests that wait to be scheduled")
                       .Register(registry)
                       .Add({});
  Counter& prompt_tokens =
      MakeCounter(registry, "switchyard_prompt_tokens_total", "Prompt tokens processed");
  Counter& generation_tokens =
      MakeCounter(registry, "switchyard_generation_tokens_total", "Tokens generated");
  Counter& prefix_queries = MakeCounter(registry, "switchyard_prefix_cache_queries_total",
                                        "Prompt tokens looked up in the prefix cache");
  Counter& prefix_hits = MakeCounter(registry, "switchyard_prefix_cache_hits_total",
                                     "Prompt tokens found in the prefix cache");
  Counter& preemptions =
      MakeCounter(registry, "switchyard_preemptions_total", "Requests preempted by the scheduler");
  Counter& draft_tokens = MakeCounter(registry, "switchyard_spec_decode_num_draft_tokens_total",
                                      "Tokens guessed and computed ahead");
  Counter& accepted_tokens =
      MakeCounter(registry, "switchyard_spec_decode_num_accepted_tokens_total",
                  "Tokens guessed ahead that were right");
  Histogram& first_token = MakeHistogram(registry, "switchyard_time_to_first_token_seconds",
                                         "From the request to a choice's first token", kLongTimes);
  Histogram& inter_token = MakeHistogram(registry, "switchyard_inter_token_latency_seconds",
                                         "Between tokens of a choice", kTokenTimes);
  Histogram& latency = MakeHistogram(registry, "switchyard_e2e_request_latency_seconds",
                                     "From the request to its last token", kLongTimes);

  std::mutex mutex;
  std::map<std::string, Followed> followed;    // by worker; one that left may come back
  std::map<std::string, WorkerGauges> gauges;  // by worker, of those there are
};

Metrics::Impl::WorkerGauges& Metrics::Impl::GaugesOf(const std::string& worker) {
  WorkerGauges& found = gauges[worker];
  if (found.alive == nullptr) {
    found = {.alive = &workers_alive.Add({{"worker", worker}}),
             .kv_usage = &kv_usage.Add({{"worker", worker}})};
  }
  return found;
}

void Metrics::Impl::ForgetAllBut(const std::vector<WorkerReport>& workers) {
  std::erase_if(gauges, [&](const auto& entry) {
    const bool stays = std::any_of(workers.begin(), workers.end(), [&](const WorkerReport& worker) {
      return worker.name == entry.first;
    });
    if (stays) return false;
    workers_alive.Remove(entry.second.alive);
    kv_usage.Remove(entry.second.kv_usage);
    return true;
  });
}

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {
  for (const char* reason : {"stop", "length", "abort", "error"}) {
    impl_->request_success.Add({{"finished_reason", reason}});
  }
}

Metrics::~Metrics() = default;

void Metrics::CountHttpResponse(int status) {
  impl_->http_responses.Add({{"code", std::to_string(status)}}).Increment();
}

void Metrics::CountPromptTokens(uint64_t tokens) {
  impl_->prompt_tokens.Increment(static_cast<double>(tokens));
}

void Metrics::CountGeneratedTokens(uint64_t tokens) {
  impl_->generation_tokens.Increment(static_cast<double>(tokens));
}

void Metrics::CountFinished(const std::string& finished_reason) {
  impl_->request_success.Add({{"finished_reason", finished_reason}}).Increment();
}

void Metrics::ObserveTimeToFirstToken(Duration time) { impl_->first_token.Observe(Seconds(time)); }

void Metrics::ObserveInterTokenLatency(Duration time) { impl_->inter_token.Observe(Seconds(time)); }

void Metrics::ObserveRequestLatency(Duration time) { impl_->latency.Observe(Seconds(time)); }

std::string Metrics::Render(const std::vector<WorkerReport>& workers) {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  double running = 0;
  double waiting = 0;
  for (const WorkerReport& worker : workers) {
    const v1::RouterWorkerStatus& status = worker.status;
    const Impl::WorkerGauges& gauges = impl_->GaugesOf(worker.name);
    gauges.alive->Set(worker.alive ? 1 : 0);
    if (worker.alive) {
      running += status.running();
      waiting += status.waiting();
    }
    const double pages = static_cast<double>(status.kv_pages_total());
    gauges.kv_usage->Set(pages > 0 ? static_cast<double>(status.kv_pages_used()) / pages : 0);
    Impl::Followed& followed = impl_->followed[worker.name];
    followed.queries.Follow(impl_->prefix_queries, status.prefix_cache_queries());
    followed.hits.Follow(impl_->prefix_hits, status.prefix_cache_hits());
    followed.preemptions.Follow(impl_->preemptions, status.preemptions());
    followed.draft_tokens.Follow(impl_->draft_tokens, status.draft_tokens());
    followed.accepted_tokens.Follow(impl_->accepted_tokens, status.accepted_draft_tokens());
  }
  impl_->ForgetAllBut(workers);
  impl_->running.Set(running);
  impl_->waiting.Set(waiting);
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace switchyard::gateway
