#include "gateway/openapi.h"

namespace switchyard::gateway {

const std::string& OpenApiText() {
  static const auto* text = new std::string(
#include "gateway/openapi_literal.inc"
  );
  return *text;
}

}  // namespace switchyard::gateway
