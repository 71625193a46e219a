#pragma once

// CHECK(condition) << "what is wrong": aborts with file, line and message when an invariant of our
// own does not hold. Never for bad input, bad files or lost peers: those are absl::Status.

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>

namespace switchyard {

class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition) {
    text_ << file << ":" << line << ": check failed: " << condition << ": ";
  }
  [[noreturn]] ~CheckFailure() {
    fprintf(stderr, "%s\n", text_.str().c_str());
    abort();
  }
  std::ostream& stream() { return text_; }

 private:
  std::ostringstream text_;
};

}  // namespace switchyard

// The switch keeps an `else` that follows from pairing with the macro's own `if`.
#define CHECK(condition)        \
  switch (0)                    \
  case 0:                       \
  default:                      \
    if (condition) [[likely]] { \
    } else                      \
      ::switchyard::CheckFailure(__FILE__, __LINE__, #condition).stream()
