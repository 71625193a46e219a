#include "services/model/checkpoint_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "services/base/file.h"

namespace switchyard::model {
namespace {

namespace fs = std::filesystem;

class CheckpointFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(root_);
    fs::create_directories(root_ + "/snapshots/main");
    fs::create_directories(root_ + "/blobs");
    Write(root_ + "/secret", "secret");
    Write(root_ + "/snapshots/main/plain", "content");
  }

  static void Write(const std::string& path, const std::string& content) {
    ASSERT_TRUE(WriteWholeFile(path, content).ok());
  }

  std::string Message(const std::string& name) const {
    const auto folder = CheckpointFolder::Open(root_ + "/snapshots/main");
    const auto content = folder->ReadFile(name, 100);
    return content.ok() ? "read: " + *content : std::string(content.status().message());
  }

  const std::string root_ = testing::TempDir() + "/checkpoint_folder_test";
};

TEST_F(CheckpointFolderTest, ReadsAPlainFile) { EXPECT_EQ(Message("plain"), "read: content"); }

TEST_F(CheckpointFolderTest, RefusesEveryWayOut) {
  for (const std::string& name :
       {std::string("../secret"), std::string(".."), std::string("."), std::string(""),
        std::string("/etc/passwd"), std::string("./plain"), std::string("a/../plain"),
        std::string("..\\secret"), std::string("plain\0x", 7), std::string(1000, 'x')}) {
    EXPECT_NE(Message(name).find("is not the plain name of a file"), std::string::npos) << name;
  }
}

TEST_F(CheckpointFolderTest, RefusesSymbolicLinks) {
  const std::string folder = root_ + "/snapshots/main/";
  fs::create_symlink("../../secret", folder + "outside");
  fs::create_symlink(root_ + "/secret", folder + "absolute");
  fs::create_symlink("plain", folder + "inside");
  fs::create_symlink("../../blobs/../secret", folder + "through_blobs");
  for (const char* name : {"outside", "absolute", "inside", "through_blobs"}) {
    EXPECT_NE(Message(name).find("is a symbolic link"), std::string::npos) << name;
  }
}

TEST_F(CheckpointFolderTest, FollowsTheHuggingFaceCachesOwnLinks) {
  const std::string hash(64, 'a');
  Write(root_ + "/blobs/" + hash, "blob");
  fs::create_symlink("../../blobs/" + hash, root_ + "/snapshots/main/model");
  EXPECT_EQ(Message("model"), "read: blob");
  // But not from one link to the next.
  const std::string chained(64, 'b');
  fs::create_symlink("../secret", root_ + "/blobs/" + chained);
  fs::create_symlink("../../blobs/" + chained, root_ + "/snapshots/main/chain");
  EXPECT_EQ(Message("chain").find("read"), std::string::npos);
}

TEST_F(CheckpointFolderTest, RefusesFoldersAndPipesWithoutHanging) {
  fs::create_directories(root_ + "/snapshots/main/folder");
  ASSERT_EQ(mkfifo((root_ + "/snapshots/main/pipe").c_str(), 0600), 0);
  EXPECT_NE(Message("folder").find("not a regular file"), std::string::npos);
  EXPECT_NE(Message("pipe").find("not a regular file"), std::string::npos);
}

TEST_F(CheckpointFolderTest, FindsAFileByItsEnding) {
  const auto folder = CheckpointFolder::Open(root_ + "/snapshots/main");
  EXPECT_EQ(*folder->FindEnding(".bin"), "");
  Write(root_ + "/snapshots/main/b.bin", "");
  Write(root_ + "/snapshots/main/a.bin", "");
  EXPECT_EQ(*folder->FindEnding(".bin"), "a.bin");
  EXPECT_TRUE(folder->Contains("plain"));
  EXPECT_FALSE(folder->Contains("other"));
}

TEST_F(CheckpointFolderTest, MissingFolderIsNamed) {
  const auto folder = CheckpointFolder::Open(root_ + "/nowhere");
  EXPECT_EQ(folder.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(folder.status().message().find("/nowhere"), std::string::npos);
}

}  // namespace
}  // namespace switchyard::model
