#include "services/model/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

namespace switchyard::model {
namespace {

constexpr Duration kRedraw = std::chrono::milliseconds(100);
constexpr Duration kLine = std::chrono::seconds(10);
constexpr int kWidth = 24;
constexpr double kMegabyte = 1e6;

}  // namespace

ProgressBar::ProgressBar(std::string label, std::FILE* out, bool terminal, const Clock& clock)
    : label_(std::move(label)),
      out_(out),
      terminal_(terminal),
      clock_(clock),
      start_(clock.Now()) {}

bool ProgressBar::IsTerminal(std::FILE* out) { return isatty(fileno(out)) == 1; }

std::string ProgressBar::Rate(int64_t bytes_done, TimePoint now) const {
  const double seconds = std::chrono::duration<double>(now - start_).count();
  if (seconds <= 0) return "";
  return absl::StrFormat(", %.0f MB/s", static_cast<double>(bytes_done) / kMegabyte / seconds);
}

void ProgressBar::Update(int64_t bytes_done, int64_t bytes_total) {
  const TimePoint now = clock_.Now();
  const bool end = bytes_done >= bytes_total;
  // On a terminal the first call draws; elsewhere a short load is one line.
  const Duration interval = terminal_ ? kRedraw : kLine;
  const Duration since = now - drawn_.value_or(terminal_ ? now - interval : start_);
  if (!end && since < interval) return;
  drawn_ = now;
  const double share =
      bytes_total > 0
          ? std::min(static_cast<double>(bytes_done) / static_cast<double>(bytes_total), 1.0)
          : 1.0;
  const std::string state =
      absl::StrFormat("%3.0f%% of %.0f MB%s", 100 * share,
                      static_cast<double>(bytes_total) / kMegabyte, Rate(bytes_done, now));
  std::string line = label_ + ": " + state + "\n";
  if (terminal_) {
    const int filled = static_cast<int>(share * kWidth);
    line = "\r" + label_ + " [" + std::string(static_cast<size_t>(filled), '#') +
           std::string(static_cast<size_t>(kWidth - filled), ' ') + "] " + state + "\x1b[K" +
           (end ? "\n" : "");
  }
  fwrite(line.data(), 1, line.size(), out_);
  fflush(out_);
}

}  // namespace switchyard::model
