#include "router_service/engine_status.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_format.h"

namespace switchyard::router {
namespace {

std::string DescribeDrafts(uint64_t drafted, uint64_t accepted) {
  if (drafted == 0) return "";
  return absl::StrFormat(", %.1f%% of %d drafts accepted", 100.0 * accepted / drafted, drafted);
}

}  // namespace

std::optional<std::string> StatusLine::Next(TimePoint now, const EngineStatus& status) {
  if (now - shown_at_ < interval_) return std::nullopt;
  const double seconds = std::chrono::duration<double>(now - std::exchange(shown_at_, now)).count();
  const EngineStatus before = std::exchange(shown_, status);
  const uint64_t prompt = status.prompt_tokens - before.prompt_tokens;
  const uint64_t generated = status.generated_tokens - before.generated_tokens;
  if (prompt + generated == 0 && status.running + status.waiting == 0) return std::nullopt;
  return absl::StrFormat(
             "%.1f tokens/s generated, %.1f tokens/s of prompts, %d running, %d waiting, "
             "KV %.1f%% used",
             generated / seconds, prompt / seconds, status.running, status.waiting,
             100.0 * status.kv_pages_used / status.kv_pages_total) +
         DescribeDrafts(status.draft_tokens - before.draft_tokens,
                        status.accepted_draft_tokens - before.accepted_draft_tokens);
}

}  // namespace switchyard::router
