#pragma once

// Shows how far loading has come: a bar that redraws itself on a terminal, a line every ten seconds
// elsewhere.

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

#include "services/base/clock.h"

namespace switchyard::model {

// One thread at a time. Writes nothing but what Update asks for.
class ProgressBar {
 public:
  // `label`: what is loaded, for example "weights of 32 layers". `out` and `clock` outlive the bar.
  ProgressBar(std::string label, std::FILE* out, bool terminal, const Clock& clock = Clock::Real());

  // Whether `out` is a terminal.
  static bool IsTerminal(std::FILE* out);

  // Call when bytes arrive; draws at most ten times a second, and always the end.
  void Update(int64_t bytes_done, int64_t bytes_total);

 private:
  std::string Rate(int64_t bytes_done, TimePoint now) const;

  const std::string label_;
  std::FILE* const out_;
  const bool terminal_;
  const Clock& clock_;
  const TimePoint start_;
  std::optional<TimePoint> drawn_;
};

}  // namespace switchyard::model
