#include "kernels/router/golden_case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>

namespace switchyard::kernels {

nlohmann::json ReadJson(const std::string& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
}

GoldenFile::GoldenFile(const std::string& list_path, const std::string& tensor_path)
    : tensors(testing::ReadTensorFile(tensor_path)), list(ReadJson(list_path)) {
  EXPECT_FALSE(list.is_discarded()) << list_path;
  if (list.is_discarded()) return;
  const nlohmann::json defaults = list.value("defaults", nlohmann::json::object());
  for (const nlohmann::json& entry : list.value("cases", nlohmann::json::array())) {
    nlohmann::json parameters = defaults;
    parameters.update(entry);
    cases.emplace_back(tensors, std::move(parameters));
  }
}

std::vector<RowRange> EqualSequences(int64_t rows, int64_t count) {
  std::vector<RowRange> sequences;
  for (int64_t i = 0; i < count; ++i) {
    sequences.push_back({rows / count * i, rows / count * (i + 1)});
  }
  return sequences;
}

void ExpectClose(const std::vector<float>& actual, const std::vector<float>& expected,
                 float tolerance, const char* what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (size_t i = 0; i < actual.size(); ++i) {
    const float magnitude =
        std::max(std::abs(expected[i]), std::numeric_limits<float>::min() / tolerance);
    EXPECT_NEAR(actual[i], expected[i], tolerance * magnitude) << what << " " << i;
  }
}

}  // namespace switchyard::kernels
