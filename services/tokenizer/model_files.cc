#include "services/tokenizer/model_files.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "services/base/status_macros.h"

namespace switchyard::tokenizer {
namespace {

constexpr std::streamoff kLargestFile = 256 << 20;

}  // namespace

absl::StatusOr<std::string> ReadModelFile(const std::string& folder, std::string_view name) {
  std::ifstream file(folder + "/" + std::string(name), std::ios::binary | std::ios::ate);
  if (!file) return absl::NotFoundError(std::string(name) + " is missing or cannot be read");
  const std::streamoff size = file.tellg();
  if (size < 0 || size > kLargestFile) {
    return absl::InvalidArgumentError(std::string(name) + " is larger than 256 MiB");
  }
  std::string bytes(static_cast<size_t>(size), '\0');
  file.seekg(0);
  if (!file.read(bytes.data(), size)) {
    return absl::InvalidArgumentError(std::string(name) + " cannot be read to its end");
  }
  return bytes;
}

absl::StatusOr<nlohmann::json> ReadTokenizerConfig(const std::string& folder) {
  constexpr std::string_view kName = "tokenizer_config.json";
  ASSIGN_OR_RETURN(const std::string bytes, ReadModelFile(folder, kName));
  nlohmann::json config = nlohmann::json::parse(bytes, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) {
    return absl::InvalidArgumentError(std::string(kName) + " is not a JSON object");
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
