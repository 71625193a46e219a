#pragma once

#include <string>

namespace switchyard::gateway {

// openapi.json: what GET /openapi.json answers. openapi_test compares it with the request readers.
const std::string& OpenApiText();

}  // namespace switchyard::gateway
