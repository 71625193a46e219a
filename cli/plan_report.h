#pragma once

// A plan as text to read and as JSON to compute with.

#include <nlohmann/json.hpp>
#include <string>

#include "services/plan/plan.h"

namespace switchyard::cli {

std::string PlanTable(const plan::PlanInput& input, const plan::Plan& plan);

// All counts exact; memory and traffic in bytes.
nlohmann::json PlanJson(const plan::PlanInput& input, const plan::Plan& plan);

}  // namespace switchyard::cli
