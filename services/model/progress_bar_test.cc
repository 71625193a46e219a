#include "services/model/progress_bar.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace switchyard::model {
namespace {

// What a bar writes.
class Output {
 public:
  Output() : file_(open_memstream(&text_, &size_)) {}
  ~Output() {
    fclose(file_);
    free(text_);
  }
  std::FILE* file() { return file_; }
  std::string text() const { return std::string(text_, size_); }

 private:
  char* text_ = nullptr;
  size_t size_ = 0;
  std::FILE* file_;
};

TEST(ProgressBarTest, ElsewhereThanOnATerminalItWritesWholeLinesNowAndThen) {
  Output output;
  ManualClock clock;
  ProgressBar bar("weights", output.file(), false, clock);
  for (int second = 1; second <= 25; ++second) {
    clock.Advance(std::chrono::seconds(1));
    bar.Update(second * 1'000'000, 25'000'000);
  }
  EXPECT_EQ(output.text(),
            "weights:  40% of 25 MB, 1 MB/s\n"
            "weights:  80% of 25 MB, 1 MB/s\n"
            "weights: 100% of 25 MB, 1 MB/s\n");
}

TEST(ProgressBarTest, OnATerminalItRedrawsOneLineAndEndsIt) {
  Output output;
  ManualClock clock;
  ProgressBar bar("weights", output.file(), true, clock);
  clock.Advance(std::chrono::seconds(1));
  bar.Update(5'000'000, 10'000'000);
  clock.Advance(std::chrono::milliseconds(1));
  bar.Update(6'000'000, 10'000'000);  // too soon
  bar.Update(10'000'000, 10'000'000);
  const std::string text = output.text();
  EXPECT_NE(text.find("\rweights [############            ]  50% of 10 MB, 5 MB/s"),
            std::string::npos)
      << text;
  EXPECT_EQ(text.find("60%"), std::string::npos);
  EXPECT_NE(text.find("100%"), std::string::npos);
  EXPECT_EQ(text.back(), '\n');
  EXPECT_FALSE(ProgressBar::IsTerminal(output.file()));
}

TEST(ProgressBarTest, NothingToLoadIsDone) {
  Output output;
  ManualClock clock;
  ProgressBar bar("weights", output.file(), false, clock);
  bar.Update(0, 0);
  EXPECT_EQ(output.text(), "weights: 100% of 0 MB\n");
}

}  // namespace
}  // namespace switchyard::model
