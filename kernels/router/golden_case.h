#pragma once

// The router fixtures (../shared/fixtures/routers) for tests.

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/router/router.h"
#include "kernels/testing/tensor_file.h"

namespace switchyard::kernels {

// One case of a file: parameters (those of all cases included) and tensors.
class GoldenCase {
 public:
  GoldenCase(const std::map<std::string, testing::Tensor>& tensors, nlohmann::json parameters)
      : tensors_(tensors), parameters_(std::move(parameters)) {}

  std::string name() const { return parameters_["case"]; }
  bool Has(const std::string& field) const { return tensors_.contains(name() + "/" + field); }

  template <typename T>
  T Get(const std::string& parameter, T fallback) const {
    return parameters_.value(parameter, fallback);
  }
  int64_t Int(const std::string& parameter) const { return parameters_[parameter]; }
  const nlohmann::json& parameters() const { return parameters_; }

  // Null where the case has no such tensor.
  template <typename T>
  const T* Find(const std::string& field) const {
    const auto found = tensors_.find(name() + "/" + field);
    return found == tensors_.end() ? nullptr : found->second.template As<T>();
  }
  template <typename T>
  std::vector<T> Values(const std::string& field) const {
    const testing::Tensor& tensor = tensors_.at(name() + "/" + field);
    const T* begin = tensor.As<T>();
    return {begin, begin + tensor.bytes.size() / sizeof(T)};
  }

 private:
  const std::map<std::string, testing::Tensor>& tensors_;
  nlohmann::json parameters_;
};

struct GoldenFile {
  std::map<std::string, testing::Tensor> tensors;
  nlohmann::json list;
  std::vector<GoldenCase> cases;  // refer to `tensors`

  GoldenFile(const std::string& list_path, const std::string& tensor_path);
  GoldenFile(const GoldenFile&) = delete;
};

nlohmann::json ReadJson(const std::string& path);

// B equal ranges that cover `rows` rows.
std::vector<RowRange> EqualSequences(int64_t rows, int64_t count);

// Within `tolerance` of the larger of |expected| and the smallest normal number.
void ExpectClose(const std::vector<float>& actual, const std::vector<float>& expected,
                 float tolerance, const char* what);

}  // namespace switchyard::kernels
