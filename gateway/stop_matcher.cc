#include "gateway/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace switchyard::gateway {

StopMatcher::StopMatcher(std::vector<std::string> stops, bool include) : include_(include) {
  for (std::string& stop : stops) {
    Pattern pattern{.text = std::move(stop)};
    pattern.border.resize(pattern.text.size());
    for (size_t i = 1, length = 0; i < pattern.text.size(); ++i) {
      while (length > 0 && pattern.text[i] != pattern.text[length]) {
        length = pattern.border[length - 1];
      }
      if (pattern.text[i] == pattern.text[length]) ++length;
      pattern.border[i] = length;
    }
    patterns_.push_back(std::move(pattern));
  }
}

void StopMatcher::Pattern::Step(char c) {
  while (matched > 0 && text[matched] != c) matched = border[matched - 1];
  if (text[matched] == c) ++matched;
}

size_t StopMatcher::LongestMatch() const {
  size_t longest = 0;
  for (const Pattern& pattern : patterns_) longest = std::max(longest, pattern.matched);
  return longest;
}

std::string StopMatcher::Append(std::string_view piece) {
  if (found_ != nullptr) return "";
  if (patterns_.empty()) return std::string(piece);
  for (char c : piece) {
    withheld_.push_back(c);
    for (Pattern& pattern : patterns_) {
      pattern.Step(c);
      if (pattern.matched < pattern.text.size()) continue;
      found_ = &pattern.text;
      if (!include_) withheld_.resize(withheld_.size() - pattern.text.size());
      return std::exchange(withheld_, "");
    }
  }
  const size_t settled = withheld_.size() - LongestMatch();
  std::string text = withheld_.substr(0, settled);
  withheld_.erase(0, settled);
  return text;
}

std::string StopMatcher::Pass(std::string_view piece) {
  for (Pattern& pattern : patterns_) pattern.matched = 0;
  return std::exchange(withheld_, "").append(piece);
}

std::string StopMatcher::Finish() { return std::exchange(withheld_, ""); }

}  // namespace switchyard::gateway
