#include "services/base/log.h"

#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>

namespace switchyard {
namespace {

struct LogConfig {
  std::string role = "switchyard";
  bool json = false;
};

LogConfig& Config() {
  static LogConfig* const config = new LogConfig;
  return *config;
}

std::string_view LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

std::string Timestamp() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  tm utc;
  gmtime_r(&now.tv_sec, &utc);
  char text[40];
  const size_t length = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
  snprintf(text + length, sizeof(text) - length, ".%03ldZ", now.tv_nsec / 1000000);
  return text;
}

}  // namespace

void ConfigureLog(std::string_view role, bool json) { Config() = {std::string(role), json}; }

LogLine::~LogLine() {
  std::string line;
  if (Config().json) {
    const nlohmann::json object = {{"time", Timestamp()},
                                   {"level", LevelName(level_)},
                                   {"role", Config().role},
                                   {"pid", getpid()},
                                   {"message", text_.str()}};
    line = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  } else {
    line = Timestamp() + " " + std::string(LevelName(level_)) + " " + Config().role + ": " +
           text_.str() + "\n";
  }
  static std::mutex* const mutex = new std::mutex;
  std::lock_guard lock(*mutex);
  fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace switchyard
