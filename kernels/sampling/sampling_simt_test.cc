#include "kernels/sampling/sampling_simt.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/base/memory.h"
#include "kernels/base/thread_pool.h"
#include "kernels/sampling/kept_set.h"
#include "kernels/sampling/sampling.h"
#include "kernels/simt/host_launch.h"
#include "kernels/testing/devices.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomValues;

// Rows of one vocabulary with what they ask for.
struct Rows {
  explicit Rows(int64_t vocabulary) : vocabulary(vocabulary) {}

  void Add(const std::vector<float>& row, const SamplingParameters& wanted, int64_t position) {
    logits.insert(logits.end(), row.begin(), row.end());
    parameters.push_back(wanted);
    positions.push_back(position);
  }

  int64_t size() const { return static_cast<int64_t>(parameters.size()); }

  std::span<const float> Logits(int64_t row) const {
    return {logits.data() + row * vocabulary, static_cast<size_t>(vocabulary)};
  }

  SampleArgs Args(std::vector<int32_t>& tokens) const {
    tokens.assign(parameters.size(), -2);
    begins.clear();
    for (int64_t row = 0; row < size(); ++row) begins.push_back(Logits(row).data());
    return {.rows = size(),
            .vocabulary = vocabulary,
            .logits = begins.data(),
            .parameters = parameters.data(),
            .positions = positions.data(),
            .tokens = tokens.data()};
  }

  std::string Describe(int64_t row) const {
    const SamplingParameters& p = parameters[row];
    return "row " + std::to_string(row) + " of " + std::to_string(vocabulary) + ": temperature " +
           std::to_string(p.temperature) + ", top_k " + std::to_string(p.top_k) + ", top_p " +
           std::to_string(p.top_p) + ", min_p " + std::to_string(p.min_p);
  }

  int64_t vocabulary;
  Floats logits;
  std::vector<SamplingParameters> parameters;
  std::vector<int64_t> positions;
  mutable std::vector<const float*> begins;  // of the rows' logits, for Args
};

void ExpectTokensOfSampleToken(const Rows& rows) {
  SamplingWorkspace workspace;
  for (Device* device : testing::TestDevices()) {
    std::vector<int32_t> tokens;
    const absl::Status status = device->Sample(rows.Args(tokens));
    ASSERT_TRUE(status.ok()) << status;
    for (int64_t row = 0; row < rows.size(); ++row) {
      const int32_t expected =
          SampleToken(rows.Logits(row), rows.parameters[row], rows.positions[row], workspace);
      ASSERT_EQ(tokens[row], expected) << device->name() << ", " << rows.Describe(row);
    }
  }
}

// A third of the values coarse, which makes ties, zeros of both signs among them; some impossible.
std::vector<float> Logits(int64_t vocabulary, float scale, uint32_t seed) {
  std::vector<float> logits = RandomValues(vocabulary, seed, scale);
  for (size_t i = 0; i < logits.size(); i += 3) logits[i] = std::round(logits[i]);
  for (size_t i = 5; i < logits.size(); i += 11) logits[i] = -INFINITY;
  return logits;
}

// Every combination of the rules for distributions from flat to peaked.
Rows AllRules(int64_t vocabulary) {
  Rows rows(vocabulary);
  const int32_t near_all = static_cast<int32_t>(vocabulary) - 1;
  int64_t position = 0;
  for (const float scale : {0.01f, 1.0f, 5.0f, 60.0f}) {
    const std::vector<float> logits = Logits(vocabulary, scale, 7);
    for (const int32_t top_k : {0, 1, 2, 50, near_all, near_all + 1}) {
      for (const float top_p : {0.0f, 0.1f, 0.9f, 0.99999f, 1.0f}) {
        for (const float min_p : {0.0f, 1e-6f, 0.3f, 1.0f}) {
          rows.Add(logits,
                   {.temperature = position % 2 == 0 ? 1.0f : 0.7f,
                    .top_k = top_k,
                    .top_p = top_p,
                    .min_p = min_p,
                    .seed = 1234567890123},
                   position);
          ++position;
        }
      }
    }
  }
  return rows;
}

// The very cuts, which tokens show only now and then.
TEST(SamplingSimtTest, KeptSetsEqualSelectKept) {
  ThreadPool pool(2);
  SetComputeThreadFloatMode();
  for (const int64_t vocabulary : {1, 2, 15, 100, 1500, 4001}) {
    const Rows rows = AllRules(vocabulary);
    std::vector<int32_t> tokens, scratch;
    HostLaunch launch(pool);
    const SampleArgs args = rows.Args(tokens);
    const simt::SampledRows sampled = simt::KeepTokens(args, tokens.data(), launch);
    launch.Wait();
    for (int64_t row = 0; row < rows.size(); ++row) {
      const SamplingParameters& p = rows.parameters[row];
      std::vector<float> values(rows.Logits(row).begin(), rows.Logits(row).end());
      for (float& value : values) value /= p.temperature;
      const float max = *std::max_element(values.begin(), values.end());
      const KeptSet expected =
          SelectKept(values, max, {.min_p = p.min_p, .top_k = p.top_k, .top_p = p.top_p}, scratch);
      ASSERT_TRUE(sampled.rows[row].is_drawn) << rows.Describe(row);
      ASSERT_EQ(sampled.rows[row].kept.threshold, expected.threshold) << rows.Describe(row);
      ASSERT_EQ(sampled.rows[row].kept.last_id, expected.last_id) << rows.Describe(row);
    }
  }
}

TEST(SamplingSimtTest, TokensEqualSampleToken) {
  for (const int64_t vocabulary : {1, 3, 50, 2500}) ExpectTokensOfSampleToken(AllRules(vocabulary));
}

// Few tokens, so that each is drawn now and then.
TEST(SamplingSimtTest, ManyPositions) {
  Rows rows(9);
  const std::vector<float> equal(9, 0.5f), sloped = {3, 1, 1, 0, -1, 1, 2, -INFINITY, 0.5f};
  for (int64_t position = 0; position < 300; ++position) {
    const int64_t far = position << 33;
    rows.Add(equal, {.seed = 3}, far);
    rows.Add(equal, {.top_p = 5.0f / 9.0f, .seed = ~uint64_t{0}}, position);
    rows.Add(equal, {.top_k = 2}, position);
    rows.Add(sloped, {.temperature = 2.5f, .top_k = 4, .seed = 9}, position);
    rows.Add(sloped, {.temperature = 2.5f, .top_p = 0.8f, .min_p = 0.15f, .seed = 9}, far);
  }
  ExpectTokensOfSampleToken(rows);
}

TEST(SamplingSimtTest, GreedyAndRowsWithoutAnAnswerAmongOthers) {
  constexpr int64_t kVocabulary = 700;
  const std::vector<float> fine = Logits(kVocabulary, 2.0f, 1);
  const auto with = [&](int64_t id, float value) {
    std::vector<float> logits = fine;
    logits[id] = value;
    return logits;
  };
  std::vector<float> one(kVocabulary, -INFINITY);
  const std::vector<float> none = one;
  one[600] = -3e38f;
  std::vector<float> ties(kVocabulary, 1.0f);
  ties[0] = 0.0f;
  const std::vector<float> low(kVocabulary, -1e38f);  // -inf after a temperature of 0.1
  Rows rows(kVocabulary);
  for (const float temperature : {0.0f, 1e-6f, 0.1f, 1.0f}) {
    for (const float top_p : {0.5f, 1.0f}) {
      for (const int32_t top_k : {0, 3}) {
        const SamplingParameters parameters{
            .temperature = temperature, .top_k = top_k, .top_p = top_p, .seed = 5};
        for (const std::vector<float>& logits :
             {fine, with(699, NAN), with(0, INFINITY), with(40, 1e38f), one, none, ties, low}) {
          rows.Add(logits, parameters, rows.size());
        }
      }
    }
  }
  ExpectTokensOfSampleToken(rows);
}

TEST(SamplingSimtTest, NoRowsAndNoVocabulary) {
  ExpectTokensOfSampleToken(Rows(10));
  Rows empty(0);
  empty.Add({}, {}, 0);
  ExpectTokensOfSampleToken(empty);
}

}  // namespace
}  // namespace switchyard::kernels
