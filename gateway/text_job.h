#pragma once

// One HTTP request for text: all its choices, from the first call of a worker to the last byte.

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gateway/choice_answer.h"
#include "gateway/generation.h"
#include "gateway/http_types.h"
#include "gateway/metrics.h"
#include "gateway/worker_pool.h"

namespace switchyard::gateway {

struct TextPrompt {
  std::vector<int32_t> ids;
  std::string text;  // what echo repeats
};

struct TextJobOptions {
  AnswerOptions answer;
  SamplingFields sampling;  // max_tokens 0: only the prompt's log-probabilities
  uint64_t seed = 0;
  std::vector<TextPrompt> prompts;
  // Most tokens a choice may have, by prompt.
  std::vector<uint32_t> max_tokens;
  bool continues_text = true;
  std::string model;
  std::string request_id;
  std::string traceparent;
  Duration timeout = std::chrono::minutes(10);
  std::vector<std::pair<std::string, std::string>> headers;  // of the answer
  std::shared_ptr<void> alive;  // destroyed when nothing of the job can run any more
};

// Thread-safe. Lives as long as its generations.
class TextJob : public std::enable_shared_from_this<TextJob> {
 public:
  // Answers `exchange`, now or later. Pool and metrics must outlive options.alive.
  static void Start(TextJobOptions options, WorkerPool& pool, Metrics& metrics,
                    const std::shared_ptr<HttpExchange>& exchange);

 private:
  struct Choice {
    ChoiceAnswer answer;
    const TextPrompt* prompt = nullptr;
    int number = 0;  // among the choices of its prompt
    uint32_t max_tokens = 0;
    std::shared_ptr<Generation> generation;  // while under way: it holds a copy of the prompt
    bool finished = false;
    std::optional<TimePoint> last_token;
  };

  TextJob(TextJobOptions options, WorkerPool& pool, Metrics& metrics,
          std::shared_ptr<HttpExchange> exchange);

  void StartMore();
  GenerationOptions OptionsOf(size_t index);
  void OnDelta(size_t index, GenerationDelta delta);
  void OnError(const absl::Status& status);
  void OnGone();
  // Cancels all choices; false if the job was over before.
  bool EndAll(const char* reason);

  // With mutex_ held.
  void Observe(Choice& choice, const GenerationDelta& delta);
  void SendChunk(Choice& choice);
  void BeginStream();
  void CompleteStream();
  void CompleteWhole();
  Json Envelope() const;
  Usage TotalUsage() const;

  TextJobOptions options_;
  WorkerPool& pool_;
  Metrics& metrics_;
  const std::shared_ptr<HttpExchange> exchange_;
  const TimePoint started_;
  const int64_t created_;  // Unix seconds

  std::mutex mutex_;
  std::vector<Choice> choices_;
  size_t next_ = 0;  // to start
  size_t under_way_ = 0;
  size_t unfinished_ = 0;
  uint64_t cached_tokens_ = 0;
  bool streaming_ = false;
  bool over_ = false;
};

}  // namespace switchyard::gateway
