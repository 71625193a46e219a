#include "router_service/pipeline.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>

#include "bazel/fixtures/fixtures.h"
#include "gtest/gtest.h"
#include "kernels/device/cpu_device.h"
#include "router_service/kv_cache.h"
#include "router_service/testing/local_dispatcher.h"
#include "services/base/file.h"
#include "services/model/safetensors_file.h"

namespace switchyard::router {
namespace {

using kernels::NumericsClass;
using Ids = std::vector<int32_t>;

struct Layout {
  int threads = 1;
  int64_t stages = 1;
  NumericsClass numerics = NumericsClass::kFp32;
};

// A pipeline and its local experts; every sequence gets fresh pages.
class Model {
 public:
  static constexpr int64_t kPages = 64;

  Model(const std::string& folder, const Layout& layout) : pool_(layout.threads) {
    auto checkpoint = model::Checkpoint::Open(folder);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    auto dispatcher = LocalDispatcher::Load(*checkpoint, layout.numerics, device_);
    EXPECT_TRUE(dispatcher.ok()) << dispatcher.status();
    dispatcher_ = *std::move(dispatcher);
    auto pipeline = Pipeline::Load(
        *checkpoint,
        {.numerics = layout.numerics, .stages = layout.stages, .kv_pages = kPages, .max_rows = 256},
        device_, *dispatcher_, {});
    EXPECT_TRUE(pipeline.ok()) << pipeline.status();
    pipeline_ = *std::move(pipeline);
    // What a page held before must never matter: all ones is NaN in fp32 and in bf16.
    for (int64_t i = 0; i < pipeline_->stages(); ++i) {
      KvStorage& kv = pipeline_->stage(i).kv();
      std::memset(kv.layer(0), 0xff, kv.bytes());
    }
  }

  const model::ModelSpec& spec() const { return pipeline_->spec(); }

  struct Output {
    std::vector<float> logits;                // [positions][vocabulary]
    std::vector<std::vector<int32_t>> ids;    // per layer [positions][k]
    std::vector<std::vector<float>> weights;  // per layer [positions][k]
    bool operator==(const Output&) const = default;
  };

  struct Sequence {
    Ids tokens;
    std::vector<int32_t> pages;
    Output output;
  };

  Sequence NewSequence(const Ids& tokens) {
    Sequence sequence{.tokens = tokens};
    // From the far end and backwards, so that page ids are not positions.
    for (int64_t i = 0; i < PagesFor(std::ssize(tokens) + 40); ++i) {
      sequence.pages.push_back(static_cast<int32_t>(kPages - 1 - next_page_++));
    }
    EXPECT_LE(next_page_, kPages);
    sequence.output.ids.resize(spec().layers.size());
    sequence.output.weights.resize(spec().layers.size());
    return sequence;
  }

  // Computes the next rows of some sequences as one micro-batch and keeps all that comes out.
  struct Part {
    Sequence* sequence;
    int64_t first;
    int64_t rows;
  };
  void Step(const std::vector<Part>& parts, uint32_t index = 0) {
    std::vector<SequenceChunk> chunks;
    for (const Part& part : parts) {
      chunks.push_back({.tokens = part.sequence->tokens.data() + part.first,
                        .first_position = part.first,
                        .rows = part.rows,
                        .pages = part.sequence->pages.data()});
    }
    MicroBatch& batch = pipeline_->batch(index);
    batch.Assign(chunks, transport::Phase::kPrefill, std::chrono::hours(1));
    BatchProgress progress = pipeline_->Start(index);
    while (progress != BatchProgress::kDone) {
      auto next = pipeline_->Advance(index);
      ASSERT_TRUE(next.ok()) << next.status();
      progress = *next;
    }
    int64_t row = 0;
    for (const Part& part : parts) {
      for (int64_t i = 0; i < part.rows; ++i, ++row) Keep(batch, row, part.sequence->output);
    }
  }

  void Prefill(Sequence& sequence, int64_t chunk) {
    const int64_t tokens = std::ssize(sequence.tokens);
    for (int64_t first = 0; first < tokens; first += chunk) {
      Step({{&sequence, first, std::min(chunk, tokens - first)}});
    }
  }

  Output Run(const Ids& tokens, int64_t chunk) {
    Sequence sequence = NewSequence(tokens);
    Prefill(sequence, chunk);
    return std::move(sequence.output);
  }

  void ReleasePages() { next_page_ = 0; }

 private:
  void Keep(MicroBatch& batch, int64_t row, Output& output) {
    EXPECT_FALSE(batch.RowFailed(row));
    const int32_t wanted = static_cast<int32_t>(row);
    output.logits.resize(output.logits.size() + spec().vocabulary);
    pipeline_->Logits(batch.index(), {&wanted, 1},
                      output.logits.data() + output.logits.size() - spec().vocabulary);
    for (const int64_t layer : spec().MoeLayers()) {
      const int64_t k = spec().layers[layer].ffn.router->top_k;
      const int32_t* const ids = batch.expert_ids(layer) + row * k;
      const float* const weights = batch.expert_weights(layer) + row * k;
      output.ids[layer].insert(output.ids[layer].end(), ids, ids + k);
      output.weights[layer].insert(output.weights[layer].end(), weights, weights + k);
    }
  }

  kernels::ThreadPool pool_;
  kernels::CpuDevice device_{pool_};
  std::unique_ptr<LocalDispatcher> dispatcher_;
  std::unique_ptr<Pipeline> pipeline_;
  int64_t next_page_ = 0;
};

double LargestAbsolute(std::span<const float> values) {
  double largest = 0;
  for (const float value : values) largest = std::max<double>(largest, std::abs(value));
  return largest;
}

double LargestDifference(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    largest = std::max<double>(largest, std::abs(double{a[i]} - double{b[i]}));
  }
  return largest;
}

// A case of the fixtures: transformers' numbers.
class Expected {
 public:
  explicit Expected(const std::string& folder) {
    auto file = model::SafetensorsFile::Open(folder + "/expected.safetensors");
    EXPECT_TRUE(file.ok()) << file.status();
    file_ = std::make_unique<model::SafetensorsFile>(*std::move(file));
    auto meta = ReadWholeFile(folder + "/meta.json", 1 << 20);
    EXPECT_TRUE(meta.ok()) << meta.status();
    meta_ = nlohmann::json::parse(*meta);
  }

  std::vector<float> Floats(const std::string& name) const {
    return *file_->ReadAll<float>(name, model::StoredType::kF32);
  }
  Ids Integers(const std::string& name) const {
    const auto values = *file_->ReadAll<int64_t>(name, model::StoredType::kI64);
    return Ids(values.begin(), values.end());
  }
  double fp32_weight_error() const {
    return meta_["fp32_vs_fp64"]["router_weights_max_abs"].get<double>();
  }

 private:
  std::unique_ptr<model::SafetensorsFile> file_;
  nlohmann::json meta_;
};

class FixtureTest : public ::testing::TestWithParam<std::string> {};

TEST_P(FixtureTest, EqualsTransformers) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "models/" + GetParam());
  const Expected expected(folder);
  Model model(folder, {.threads = 2});
  const Ids inputs = expected.Integers("input_ids");
  const size_t length = inputs.size() / 2;
  Model::Output got = model.Run(Ids(inputs.begin(), inputs.begin() + length), 16);
  const Model::Output second = model.Run(Ids(inputs.begin() + length, inputs.end()), 16);
  got.logits.insert(got.logits.end(), second.logits.begin(), second.logits.end());

  const std::vector<float> logits = expected.Floats("logits");
  EXPECT_LE(LargestDifference(got.logits, logits), 1e-5 * LargestAbsolute(logits));
  for (const int64_t layer : model.spec().MoeLayers()) {
    const std::string name = "router." + std::to_string(layer);
    Ids ids = got.ids[layer];
    ids.insert(ids.end(), second.ids[layer].begin(), second.ids[layer].end());
    EXPECT_EQ(ids, expected.Integers(name + ".ids")) << name;
    std::vector<float> weights = got.weights[layer];
    weights.insert(weights.end(), second.weights[layer].begin(), second.weights[layer].end());
    EXPECT_LE(LargestDifference(weights, expected.Floats(name + ".weights")),
              5 * expected.fp32_weight_error())
        << name;
  }
}

TEST_P(FixtureTest, GeneratesTheGreedyTokens) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "models/" + GetParam());
  const Expected expected(folder);
  Model model(folder, {});
  Model::Sequence sequence = model.NewSequence(expected.Integers("greedy_prompt"));
  const size_t prompt = sequence.tokens.size();
  model.Prefill(sequence, 7);
  const std::vector<float> logits = expected.Floats("greedy_logits");
  const size_t vocabulary = static_cast<size_t>(model.spec().vocabulary);
  for (size_t i = 0; i < 32; ++i) {
    const std::span last = std::span(sequence.output.logits).last(vocabulary);
    EXPECT_LE(LargestDifference(last, std::span(logits).subspan(i * vocabulary, vocabulary)),
              1e-5 * LargestAbsolute(logits));
    sequence.tokens.push_back(
        static_cast<int32_t>(std::max_element(last.begin(), last.end()) - last.begin()));
    model.Step({{&sequence, std::ssize(sequence.tokens) - 1, 1}});
  }
  EXPECT_EQ(Ids(sequence.tokens.begin() + prompt, sequence.tokens.end()),
            expected.Integers("greedy_ids"));
}

class InvarianceTest : public ::testing::TestWithParam<std::tuple<std::string, NumericsClass>> {
 protected:
  Layout layout() const { return {.numerics = std::get<1>(GetParam())}; }
};

TEST_P(InvarianceTest, BitsDoNotDependOnChunkThreadsStagesOrCompany) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "models/" + std::get<0>(GetParam()));
  const Ids inputs = Expected(folder).Integers("input_ids");
  const Ids tokens(inputs.begin(), inputs.begin() + std::ssize(inputs) / 2);
  Model alone(folder, layout());
  const Model::Output reference = alone.Run(tokens, 1);
  for (const float logit : reference.logits) ASSERT_TRUE(std::isfinite(logit));

  for (const int64_t chunk : {7, 16, 256}) {
    alone.ReleasePages();
    EXPECT_TRUE(alone.Run(tokens, chunk) == reference) << "chunks of " << chunk;
  }
  for (const int threads : {2, 3}) {
    Layout other = layout();
    other.threads = threads;
    EXPECT_TRUE(Model(folder, other).Run(tokens, 16) == reference) << threads << " threads";
  }
  Layout two_stages = layout();
  two_stages.stages = 2;
  EXPECT_TRUE(Model(folder, two_stages).Run(tokens, 16) == reference) << "two stages";

  alone.ReleasePages();
  Model::Sequence watched = alone.NewSequence(tokens);
  std::vector<Model::Sequence> others;
  for (int32_t i = 0; i < 8; ++i) {
    others.push_back(alone.NewSequence(Ids(5 + i, 3 * i + 1)));
  }
  const int64_t half = std::ssize(tokens) / 2;
  std::vector<Model::Part> parts;
  for (int i = 0; i < 4; ++i) parts.push_back({&others[i], 0, std::ssize(others[i].tokens)});
  parts.push_back({&watched, 0, half});
  alone.Step(parts);
  parts.assign({{&watched, half, std::ssize(tokens) - half}});
  for (int i = 4; i < 8; ++i) parts.push_back({&others[i], 0, std::ssize(others[i].tokens)});
  alone.Step(parts, 1);
  EXPECT_TRUE(watched.output == reference) << "with eight others";
}

const std::string kCases[] = {"mixtral",      "mixtral_swa", "mixtral_fine",
                              "mixtral_bf16", "llama",       "phimoe"};

INSTANTIATE_TEST_SUITE_P(Models, FixtureTest, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param; });
INSTANTIATE_TEST_SUITE_P(Models, InvarianceTest,
                         ::testing::Combine(::testing::ValuesIn(kCases),
                                            ::testing::Values(NumericsClass::kFp32,
                                                              NumericsClass::kBf16)),
                         [](const auto& info) {
                           return std::get<0>(info.param) + "_" +
                                  std::string(kernels::Name(std::get<1>(info.param)));
                         });

}  // namespace
}  // namespace switchyard::router
