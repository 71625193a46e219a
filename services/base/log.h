#pragma once

// Log lines on standard error: time, level, role, message; as JSON objects when asked. Thread-safe.
// No prompts, keys or generated text are ever logged.

#include <sstream>
#include <string_view>

namespace switchyard {

enum class LogLevel { kInfo, kWarning, kError };

// Set once at start-up, before threads: the role's name as it stands in each line, and the format.
void ConfigureLog(std::string_view role, bool json);

// Builds one line and writes it when it goes out of scope: LogLine(LogLevel::kInfo) << "x " << 1;
class LogLine {
 public:
  explicit LogLine(LogLevel level) : level_(level) {}
  ~LogLine();
  LogLine(const LogLine&) = delete;
  LogLine& operator=(const LogLine&) = delete;

  template <typename T>
  LogLine& operator<<(const T& value) {
    text_ << value;
    return *this;
  }

 private:
  LogLevel level_;
  std::ostringstream text_;
};

inline LogLine LogInfo() { return LogLine(LogLevel::kInfo); }
inline LogLine LogWarning() { return LogLine(LogLevel::kWarning); }
inline LogLine LogError() { return LogLine(LogLevel::kError); }

}  // namespace switchyard
