#include "gateway/api_error.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace switchyard::gateway {
namespace {

using nlohmann::json;

TEST(ApiErrorTest, HasTheShapeThatClientsKnow) {
  const HttpResponse response = ErrorResponse(InvalidField("top_p", "must be above 0"));
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(json::parse(response.body),
            json::parse(R"({"error": {"message": "top_p: must be above 0",
                "type": "invalid_request_error", "param": "top_p", "code": null}})"));
  // Text that is no UTF-8 is still JSON.
  EXPECT_TRUE(json::accept(ErrorJson(InvalidField("\xFF", "bad"))));
}

TEST(ApiErrorTest, TellsWhenToTryAgain) {
  const HttpResponse response = ErrorResponse(Overloaded("busy", "queue_full"));
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.headers.at(0), (std::pair<std::string, std::string>("Retry-After", "1")));
}

TEST(ApiErrorTest, WorkerErrorsNameExpertsButNoHosts) {
  const ApiError lost = FromWorkerStatus(
      absl::UnavailableError("layer 3 on 10.0.0.7:7001: no reachable host owns expert 4 5"));
  EXPECT_EQ(lost.status, 503);
  EXPECT_NE(lost.message.find("expert 4 5"), std::string::npos);
  EXPECT_EQ(lost.message.find("10.0.0.7"), std::string::npos);
  EXPECT_TRUE(IsCapacityLost(absl::UnavailableError("layer 3: no reachable host owns expert 4")));
  EXPECT_FALSE(IsCapacityLost(absl::UnavailableError("ipv4:10.0.0.7:7001: refused")));
  const ApiError broken = FromWorkerStatus(absl::UnavailableError("ipv4:10.0.0.7:7001: refused"));
  EXPECT_EQ(broken.message.find("10.0.0.7"), std::string::npos);
  EXPECT_EQ(FromWorkerStatus(absl::InvalidArgumentError("x")).status, 400);
  EXPECT_EQ(FromWorkerStatus(absl::DeadlineExceededError("x")).status, 503);
  EXPECT_EQ(FromWorkerStatus(absl::DataLossError("/srv/model")).message,
            "the router worker failed");
}

}  // namespace
}  // namespace switchyard::gateway
