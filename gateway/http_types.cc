#include "gateway/http_types.h"

namespace switchyard::gateway {

std::string_view HttpRequest::Header(const std::string& lower_case_name) const {
  const auto found = headers.find(lower_case_name);
  return found == headers.end() ? std::string_view() : found->second;
}

}  // namespace switchyard::gateway
