#include "services/plan/hosts.h"

#include <cmath>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/base/status_macros.h"

namespace switchyard::plan {
namespace {

constexpr double kMaxBytes = 1e15;  // of one host

constexpr std::pair<const char*, double> kUnits[] = {
    {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}};

absl::Status Error(const std::string& entry) {
  return absl::InvalidArgumentError(
      absl::StrCat("--hosts: \"", entry.substr(0, 40),
                   "\" is not COUNTxMEMORY or MEMORY, for example 8x80GiB; units are MB, GB, TB, "
                   "MiB, GiB and TiB"));
}

absl::StatusOr<int64_t> ParseMemory(const std::string& text, const std::string& entry) {
  for (const auto& [unit, scale] : kUnits) {
    const std::string suffix = unit;
    if (!text.ends_with(suffix)) continue;
    double number = 0;
    if (!absl::SimpleAtod(text.substr(0, text.size() - suffix.size()), &number)) break;
    const double bytes = std::floor(number * scale);
    if (!(bytes >= 1 && bytes <= kMaxBytes)) break;
    return static_cast<int64_t>(bytes);
  }
  return Error(entry);
}

}  // namespace

absl::StatusOr<std::vector<int64_t>> ParseHosts(std::string_view text) {
  std::vector<int64_t> hosts;
  for (const auto piece : absl::StrSplit(std::string(text), ',')) {
    const std::string entry(piece);
    const size_t times = entry.find('x');
    int64_t count = 1;
    if (times != std::string::npos &&
        (!absl::SimpleAtoi(entry.substr(0, times), &count) || count < 1)) {
      return Error(entry);
    }
    ASSIGN_OR_RETURN(
        const int64_t bytes,
        ParseMemory(times == std::string::npos ? entry : entry.substr(times + 1), entry));
    if (count > kMaxHosts - static_cast<int64_t>(hosts.size())) {
      return absl::InvalidArgumentError(absl::StrCat("--hosts: more than ", kMaxHosts, " hosts"));
    }
    hosts.insert(hosts.end(), static_cast<size_t>(count), bytes);
  }
  return hosts;
}

}  // namespace switchyard::plan
