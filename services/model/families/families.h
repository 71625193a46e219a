#pragma once

#include <string>
#include <string_view>

#include "services/model/families/family.h"

namespace switchyard::model {

const Family* FindFamily(std::string_view model_type);  // nullptr when there is none
std::string FamilyList();                               // for messages: "\"llama\", \"mixtral\""

}  // namespace switchyard::model
