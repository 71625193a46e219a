#include "gateway/proto_json.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <cmath>
#include <string>

namespace switchyard::gateway {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

bool IsStruct(const Message& message) {
  return message.GetDescriptor() == google::protobuf::Struct::descriptor();
}

// `index` of a repeated field; -1: the field is single.
Json ValueOf(const Message& message, const FieldDescriptor* field, int index) {
  const Reflection& reflect = *message.GetReflection();
  const auto get = [&](auto single, auto repeated) -> Json {
    if (index < 0) return (reflect.*single)(message, field);
    return (reflect.*repeated)(message, field, index);
  };
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return get(&Reflection::GetBool, &Reflection::GetRepeatedBool);
    case FieldDescriptor::CPPTYPE_INT32:
      return get(&Reflection::GetInt32, &Reflection::GetRepeatedInt32);
    case FieldDescriptor::CPPTYPE_INT64:
      return get(&Reflection::GetInt64, &Reflection::GetRepeatedInt64);
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      const Json number = get(&Reflection::GetDouble, &Reflection::GetRepeatedDouble);
      // JSON has none of the others, and what it makes of them, null, would count as absent.
      return std::isfinite(number.get<double>()) ? number : Json("not a finite number");
    }
    case FieldDescriptor::CPPTYPE_STRING:
      return get(&Reflection::GetString, &Reflection::GetRepeatedString);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ToJson(index < 0 ? reflect.GetMessage(message, field)
                              : reflect.GetRepeatedMessage(message, field, index));
    default:
      return nullptr;  // no request has another type
  }
}

std::string StringOf(const Json& value, const FieldDescriptor* field) {
  if (value.is_string()) return value.get<std::string>();
  if (field->type() != FieldDescriptor::TYPE_BYTES) return value.dump();
  std::string bytes;
  for (const Json& byte : value) {
    if (byte.is_number()) bytes += static_cast<char>(byte.get<int>());
  }
  return bytes;
}

// Sets a single field, or adds to a repeated one.
void Take(const Json& value, const FieldDescriptor* field, Message* message) {
  const Reflection& reflect = *message->GetReflection();
  const bool repeated = field->is_repeated();
  const auto put = [&](auto set, auto add, auto converted) {
    repeated ? (reflect.*add)(message, field, converted)
             : (reflect.*set)(message, field, converted);
  };
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      if (!value.is_number()) return;
      return put(&Reflection::SetInt32, &Reflection::AddInt32, value.get<int32_t>());
    case FieldDescriptor::CPPTYPE_UINT32:
      if (!value.is_number()) return;
      return put(&Reflection::SetUInt32, &Reflection::AddUInt32, value.get<uint32_t>());
    case FieldDescriptor::CPPTYPE_INT64:
      if (!value.is_number()) return;
      return put(&Reflection::SetInt64, &Reflection::AddInt64, value.get<int64_t>());
    case FieldDescriptor::CPPTYPE_UINT64:
      if (!value.is_number()) return;
      return put(&Reflection::SetUInt64, &Reflection::AddUInt64, value.get<uint64_t>());
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return put(&Reflection::SetDouble, &Reflection::AddDouble,
                 value.is_number() ? value.get<double>() : std::nan(""));
    case FieldDescriptor::CPPTYPE_STRING:
      return put(&Reflection::SetString, &Reflection::AddString, StringOf(value, field));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return FromJson(value, repeated ? reflect.AddMessage(message, field)
                                      : reflect.MutableMessage(message, field));
    default:
      return;  // no answer has another type
  }
}

}  // namespace

Json ToJson(const Message& message) {
  if (IsStruct(message)) {
    std::string text;
    const auto status = google::protobuf::util::MessageToJsonString(message, &text);
    if (!status.ok() || CheckJsonLimits(text)) return "too large or not valid";
    return Json::parse(text, nullptr, /*allow_exceptions=*/false);
  }
  Json json = Json::object();
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (!field->is_repeated()) {
      json[field->name()] = ValueOf(message, field, -1);
      continue;
    }
    Json& list = json[field->name()] = Json::array();
    const int size = message.GetReflection()->FieldSize(message, field);
    for (int i = 0; i < size; ++i) list.push_back(ValueOf(message, field, i));
  }
  return json;
}

void FromJson(const Json& json, Message* message) {
  if (!json.is_object()) return;
  if (IsStruct(*message)) {
    if (!google::protobuf::util::JsonStringToMessage(json.dump(), message).ok()) message->Clear();
    return;
  }
  for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message->GetDescriptor()->field(i);
    const auto found = json.find(field->name());
    if (found == json.end() || found->is_null()) continue;
    if (!field->is_repeated()) {
      Take(*found, field, message);
    } else if (found->is_array()) {
      for (const Json& element : *found) Take(element, field, message);
    }
  }
}

}  // namespace switchyard::gateway
