#include "services/tokenizer/model_files.h"

#include <fcntl.h>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "services/base/file.h"
#include "services/base/json.h"
#include "services/base/status_macros.h"
#include "services/base/unique_fd.h"

namespace switchyard::tokenizer {
namespace {

constexpr size_t kLargestFile = 256 << 20;
constexpr JsonLimits kConfigLimits{.bytes = 16 << 20};

}  // namespace

absl::StatusOr<std::string> ReadModelFile(const std::string& folder, std::string_view name) {
  const std::string file(name);
  // Non-blocking, so that opening a pipe cannot hang before it is refused.
  const UniqueFd fd(open((folder + "/" + file).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return absl::NotFoundError(file + " is missing or cannot be read");
  return ReadWholeFile(fd.get(), kLargestFile, file);
}

absl::StatusOr<nlohmann::json> ReadTokenizerConfig(const std::string& folder) {
  const std::string name = "tokenizer_config.json";
  ASSIGN_OR_RETURN(const std::string bytes, ReadModelFile(folder, name));
  ASSIGN_OR_RETURN(nlohmann::json config, ParseJson(bytes, kConfigLimits, name));
  if (!config.is_object()) return absl::InvalidArgumentError(name + " is not a JSON object");
  if (const auto code = config.find("auto_map"); code != config.end() && !code->is_null()) {
    return absl::InvalidArgumentError(
        name +
        ": auto_map asks for code from the checkpoint to be run, which Switchyard never does");
  }
  return config;
}

std::string SpecialTokenText(const nlohmann::json& config, const char* key) {
  auto token = config.find(key);
  if (token == config.end()) return "";
  if (token->is_object()) {
    const auto content = token->find("content");
    if (content == token->end()) return "";
    token = content;
  }
  return token->is_string() ? token->get<std::string>() : "";
}

}  // namespace switchyard::tokenizer
