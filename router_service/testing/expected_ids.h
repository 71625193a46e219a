#pragma once

// What a fixture's expected.safetensors holds as ids: prompts, answers, chosen experts.

#include <cstdint>
#include <string>

#include "gtest/gtest.h"
#include "router_service/testing/engine_world.h"
#include "services/model/safetensors_file.h"

namespace switchyard::router {

// All elements of tensor `name` of the case in `folder`.
inline Ids ExpectedIds(const std::string& folder, const std::string& name) {
  const auto file = model::SafetensorsFile::Open(folder + "/expected.safetensors");
  EXPECT_TRUE(file.ok()) << file.status();
  const auto values = *file->ReadAll<int64_t>(name, model::StoredType::kI64);
  return {values.begin(), values.end()};
}

}  // namespace switchyard::router
