#pragma once

// Protobuf messages to and from the JSON of the HTTP API: field names as they stand in the .proto
// file, 64-bit integers as numbers, bytes as arrays of numbers. Protobuf's own mapping writes those
// three differently. google.protobuf.Struct is the object that it stands for.

#include <google/protobuf/message.h>

#include "gateway/json_body.h"

namespace switchyard::gateway {

// Fields that are not set are left out.
Json ToJson(const google::protobuf::Message& message);

// Reads the fields that the message has; others are ignored, and so is what is null or has another
// type. In a list null becomes NaN or an empty message, so that places stay.
void FromJson(const Json& json, google::protobuf::Message* message);

}  // namespace switchyard::gateway
