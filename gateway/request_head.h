#pragma once

// What routes read from the head of a request. Pure.

#include <string>
#include <string_view>

#include "gateway/http_types.h"

namespace switchyard::gateway {

// W3C trace context: 00-<32 hex>-<16 hex>-<2 hex>; empty when there is none.
std::string TraceParent(const HttpRequest& request);

// "org%2Fname" as "org/name"; what is no escape stays as it is.
std::string PercentDecode(std::string_view text);

// Whether a body is JSON as far as its header tells. One that says nothing is taken for JSON.
bool SaysJson(const HttpRequest& request);

}  // namespace switchyard::gateway
