#include "services/base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>

#include "services/base/unique_fd.h"

namespace switchyard {
namespace {

std::string Path(const std::string& name) { return testing::TempDir() + "/file_test_" + name; }

TEST(FileTest, WritesAndReadsBackRanges) {
  const std::string path = Path("ranges");
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600));
  ASSERT_TRUE(fd.valid());
  ASSERT_TRUE(WriteExactly(fd.get(), "world", 5, 5, path).ok());
  ASSERT_TRUE(WriteExactly(fd.get(), "hello", 5, 0, path).ok());
  char text[4];
  ASSERT_TRUE(ReadExactly(fd.get(), text, 4, 3, path).ok());
  EXPECT_EQ(std::string(text, 4), "lowo");
  EXPECT_EQ(*ReadWholeFile(path, 10), "helloworld");
}

TEST(FileTest, WritesWholeFilesOverLongerOnes) {
  const std::string path = Path("whole");
  ASSERT_TRUE(WriteWholeFile(path, "a longer text").ok());
  ASSERT_TRUE(WriteWholeFile(path, "short").ok());
  EXPECT_EQ(*ReadWholeFile(path, 100), "short");
  EXPECT_FALSE(WriteWholeFile(path + "/below", "x").ok());
}

TEST(FileTest, ShortFileIsDataLossNamingIt) {
  const std::string path = Path("short");
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600));
  ASSERT_TRUE(WriteExactly(fd.get(), "abc", 3, 0, path).ok());
  char text[8];
  const absl::Status status = ReadExactly(fd.get(), text, 8, 0, path);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(status.message().find(path), std::string::npos);
}

TEST(FileTest, RefusesTooLargeMissingAndSpecialFiles) {
  const std::string path = Path("large");
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600));
  ASSERT_TRUE(WriteExactly(fd.get(), "abc", 3, 0, path).ok());
  EXPECT_EQ(ReadWholeFile(path, 2).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadWholeFile(Path("absent"), 2).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadWholeFile(testing::TempDir(), 2).status().code(),
            absl::StatusCode::kInvalidArgument);
  const std::string pipe = Path("pipe");
  unlink(pipe.c_str());
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(ReadWholeFile(pipe, 2).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(UniqueFdTest, ClosesOnceAndMoves) {
  UniqueFd first(open("/dev/null", O_RDONLY));
  const int raw = first.get();
  UniqueFd second = std::move(first);
  EXPECT_FALSE(first.valid());
  EXPECT_EQ(second.get(), raw);
  second.Reset();
  EXPECT_EQ(fcntl(raw, F_GETFD), -1);
}

}  // namespace
}  // namespace switchyard
