#include "gateway/request_head.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"

namespace switchyard::gateway {

std::string TraceParent(const HttpRequest& request) {
  const std::string_view value = request.Header("traceparent");
  const bool plain = value.find_first_not_of("0123456789abcdef-") == std::string_view::npos;
  return value.size() == 55 && plain ? std::string(value) : "";
}

std::string PercentDecode(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '%' && i + 2 < text.size() &&
                        absl::ascii_isxdigit(text[i + 1]) && absl::ascii_isxdigit(text[i + 2]);
    if (escape) {
      decoded += absl::HexStringToBytes(std::string(text.substr(i + 1, 2)));
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

bool SaysJson(const HttpRequest& request) {
  const std::string_view coding = request.Header("content-encoding");
  const std::string_view type = request.Header("content-type");
  const std::string essence(absl::StripAsciiWhitespace(
      absl::string_view(type.data(), std::min(type.find(';'), type.size()))));
  return (coding.empty() || coding == "identity") &&
         (type.empty() || absl::EqualsIgnoreCase(essence, "application/json"));
}

}  // namespace switchyard::gateway
