#include "services/base/status_macros.h"

#include <gtest/gtest.h>

#include <memory>

namespace switchyard {
namespace {

absl::StatusOr<std::unique_ptr<int>> Make(bool good) {
  if (!good) return absl::NotFoundError("no number");
  return std::make_unique<int>(7);
}

absl::Status Use(bool first_good, bool second_good, int* sum) {
  ASSIGN_OR_RETURN(const std::unique_ptr<int> first, Make(first_good));
  ASSIGN_OR_RETURN(std::unique_ptr<int> second, Make(second_good));
  RETURN_IF_ERROR(absl::OkStatus());
  *sum = *first + *second;
  return absl::OkStatus();
}

TEST(StatusMacrosTest, AssignMovesValuesAndReturnsErrors) {
  int sum = 0;
  EXPECT_TRUE(Use(true, true, &sum).ok());
  EXPECT_EQ(sum, 14);
  EXPECT_EQ(Use(false, true, &sum).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Use(true, false, &sum).message(), "no number");
}

}  // namespace
}  // namespace switchyard
