#include "cli/eval_input.h"

#include <gtest/gtest.h>

#include <fstream>

namespace switchyard::cli {
namespace {

std::string WriteFile(const std::string& text) {
  const std::string path = ::testing::TempDir() + "/input.json";
  std::ofstream(path) << text;
  return path;
}

TEST(EvalInput, ReadsRowsOfEqualLength) {
  const auto input = ReadEvalInput(WriteFile(R"({"input_ids": [[1, 2, 3], [4, 5, 6]]})"));
  ASSERT_TRUE(input.ok()) << input.status();
  ASSERT_EQ(input->rows.size(), 2u);
  EXPECT_EQ(input->rows[1].ids, (std::vector<int32_t>{4, 5, 6}));
  EXPECT_TRUE(input->rectangular);
}

TEST(EvalInput, ReadsRowsWithAMaskOfReplies) {
  const auto input = ReadEvalInput(WriteFile(
      R"({"rows": [{"ids": [1, 2, 3], "reply": [0, 0, 1]}, {"ids": [4, 5], "reply": [0, 1]}]})"));
  ASSERT_TRUE(input.ok()) << input.status();
  EXPECT_EQ(input->rows[0].counted, (std::vector<bool>{false, false, true}));
  EXPECT_FALSE(input->rectangular);
}

TEST(EvalInput, RefusesWhatIsNotTokenRowsAndNamesTheKey) {
  const std::pair<const char*, const char*> cases[] = {
      {"[]", "needs \"input_ids\""},
      {"{", "input.json"},
      {R"({"input_ids": []})", "needs \"input_ids\""},
      {R"({"input_ids": [[1, "a"]]})", "input_ids[0]"},
      {R"({"input_ids": [[1], [-1]]})", "input_ids[1]"},
      {R"({"input_ids": [[4294967296]]})", "input_ids[0]"},
      {R"({"rows": [{"ids": [1, 2], "reply": [1]}]})", "rows[0]"},
      {R"({"input_ids": [[1]], "decoder_input_ids": [[-1]]})", "decoder_input_ids[0]"},
      {R"({"input_ids": [[1]], "decoder_input_ids": 7})", "decoder_input_ids must be"},
      {R"({"rows": [{"ids": [1, 2]}]})", "\"reply\""},
  };
  for (const auto& [text, wanted] : cases) {
    const auto input = ReadEvalInput(WriteFile(text));
    ASSERT_FALSE(input.ok()) << text;
    EXPECT_NE(input.status().message().find(wanted), std::string_view::npos) << input.status();
  }
  EXPECT_FALSE(ReadEvalInput("/nonexistent/input.json").ok());
}

TEST(EvalInput, SplitsWhatTheEncoderReadsFromWhatTheDecoderReads) {
  auto input = ReadEvalInput(
      WriteFile(R"({"input_ids": [[1, 2, 3], [4, 5, 6]], "decoder_input_ids": [[0, 7], [0, 8]]})"));
  ASSERT_TRUE(input.ok()) << input.status();
  ASSERT_TRUE(SplitSource(0, *input).ok());
  EXPECT_EQ(input->rows[1].source, (std::vector<int32_t>{4, 5, 6}));
  EXPECT_EQ(input->rows[1].ids, (std::vector<int32_t>{0, 8}));
  EXPECT_TRUE(input->rectangular);

  input = ReadEvalInput(WriteFile(R"({"input_ids": [[1, 2, 3], [4, 5]]})"));
  ASSERT_TRUE(SplitSource(9, *input).ok());
  EXPECT_EQ(input->rows[0].ids, (std::vector<int32_t>{9}));
  EXPECT_FALSE(input->rectangular);

  input = ReadEvalInput(WriteFile(R"({"input_ids": [[1], [2]], "decoder_input_ids": [[0]]})"));
  EXPECT_FALSE(SplitSource(0, *input).ok());
}

TEST(EvalInput, CutsATextIntoRowsThatEachBeginWithBos) {
  const EvalInput input = CutIntoRows({5, 6, 7, 8, 9}, 3, 1);
  ASSERT_EQ(input.rows.size(), 3u);
  EXPECT_EQ(input.rows[0].ids, (std::vector<int32_t>{1, 5, 6}));
  EXPECT_EQ(input.rows[2].ids, (std::vector<int32_t>{1, 9}));
  EXPECT_EQ(CutIntoRows({5, 6, 7}, 2, -1).rows.size(), 1u);  // a lone token predicts nothing
}

}  // namespace
}  // namespace switchyard::cli
