#include "services/model/families/families.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace switchyard::model {
namespace {

constexpr const Family* kFamilies[] = {&kDeepseekV2, &kDeepseekV3, &kGlam,    &kGlm4Moe, &kGptMoe,
                                       &kGptOss,     &kLlama,      &kMixtral, &kOlmoe,   &kPhimoe,
                                       &kQwen2Moe,   &kQwen3Moe,   &kSwitch};

}  // namespace

const Family* FindFamily(std::string_view model_type) {
  for (const Family* family : kFamilies) {
    if (family->model_type == model_type) return family;
  }
  return nullptr;
}

std::string FamilyList() {
  return absl::StrJoin(kFamilies, ", ", [](std::string* out, const Family* family) {
    absl::StrAppend(out, "\"", std::string(family->model_type), "\"");
  });
}

}  // namespace switchyard::model
