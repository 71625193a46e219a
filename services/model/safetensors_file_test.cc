// Reader and writer together: what one writes the other reads.

#include "services/model/safetensors_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "services/base/file.h"
#include "services/model/safetensors_writer.h"

namespace switchyard::model {
namespace {

std::string Path(const std::string& name) {
  return testing::TempDir() + "/safetensors_file_test_" + name;
}

void WriteExample(const std::string& path) {
  unlink(path.c_str());
  auto writer = SafetensorsWriter::Create(path, {{"bytes", StoredType::kU8, {3}},
                                                 {"z", StoredType::kF32, {2, 2}},
                                                 {"ids", StoredType::kI64, {2}},
                                                 {"a", StoredType::kF32, {1}}});
  ASSERT_TRUE(writer.ok()) << writer.status();
  const float z[] = {1, 2, 3, 4};
  const float a = -0.5f;
  const int64_t ids[] = {-7, int64_t{1} << 40};
  // Out of order and in pieces.
  ASSERT_TRUE(writer->Write("z", 8, z + 2, 8).ok());
  ASSERT_TRUE(writer->Write("bytes", "\x01\xff\x80").ok());
  ASSERT_TRUE(writer->Write("ids", ids).ok());
  ASSERT_TRUE(writer->Write("a", &a).ok());
  EXPECT_EQ(access(path.c_str(), F_OK), -1);
  ASSERT_TRUE(writer->Write("z", 0, z, 8).ok());
  ASSERT_TRUE(writer->Finish().ok());
}

TEST(SafetensorsFileTest, ReadsWhatTheWriterWrote) {
  const std::string path = Path("round_trip");
  WriteExample(path);
  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(*file->ReadAll<float>("z", StoredType::kF32), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(*file->ReadAll<float>("a", StoredType::kF32), (std::vector<float>{-0.5f}));
  EXPECT_EQ(*file->ReadAll<int64_t>("ids", StoredType::kI64),
            (std::vector<int64_t>{-7, int64_t{1} << 40}));
  EXPECT_EQ(*file->ReadAll<uint8_t>("bytes", StoredType::kU8), (std::vector<uint8_t>{1, 255, 128}));
  float pair[2];
  ASSERT_TRUE(file->Read(*file->Find("z"), 4, 8, pair).ok());
  EXPECT_EQ(pair[0], 2);
  EXPECT_EQ(file->Find("missing"), nullptr);
  EXPECT_EQ(file->ReadAll<float>("missing", StoredType::kF32).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_FALSE(file->ReadAll<float>("ids", StoredType::kF32).ok());
}

TEST(SafetensorsFileTest, SameTensorsGiveSameBytesAndAlignedData) {
  WriteExample(Path("first"));
  WriteExample(Path("second"));
  const std::string first = *ReadWholeFile(Path("first"), 10'000);
  EXPECT_EQ(first, *ReadWholeFile(Path("second"), 10'000));
  uint64_t length;
  std::memcpy(&length, first.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  const auto file = SafetensorsFile::Open(Path("first"));
  for (const auto& [name, tensor] : file->tensors()) {
    EXPECT_EQ(tensor.begin % static_cast<uint64_t>(SizeOf(tensor.type)), 0u) << name;
  }
}

TEST(SafetensorsFileTest, EveryTruncationIsAnErrorNotACrash) {
  const std::string path = Path("truncated");
  WriteExample(path);
  const std::string whole = *ReadWholeFile(path, 10'000);
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    ASSERT_EQ(truncate(path.c_str(), static_cast<off_t>(bytes)), 0);
    EXPECT_FALSE(SafetensorsFile::Open(path).ok()) << bytes;
    WriteExample(path);
  }
}

TEST(SafetensorsFileTest, TruncationAfterOpeningIsAnErrorOfTheRead) {
  const std::string path = Path("truncated_later");
  WriteExample(path);
  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok());
  ASSERT_EQ(truncate(path.c_str(), 20), 0);
  const auto values = file->ReadAll<float>("z", StoredType::kF32);
  EXPECT_EQ(values.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(values.status().message().find(path), std::string::npos);
}

// Sparse files: they have the bytes that their length calls for, and take no room.
TEST(SafetensorsFileTest, HugeHeaderLengthsAreRefusedByNameBeforeTheyAreRead) {
  const std::string path = Path("huge");
  for (const uint64_t length : {uint64_t{1} << 63, UINT64_MAX, kMaxSafetensorsHeaderBytes + 1}) {
    std::string prefix(sizeof(length), '\0');
    std::memcpy(prefix.data(), &length, sizeof(length));
    ASSERT_TRUE(WriteWholeFile(path, prefix).ok());
    ASSERT_EQ(truncate(path.c_str(), off_t{1} << 32), 0);
    const absl::Status status = SafetensorsFile::Open(path).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(), path + ": header of " + std::to_string(length) +
                                    " bytes; at most 100000000. Is this a safetensors file?");
  }
  unlink(path.c_str());
}

TEST(SafetensorsWriterTest, IncompleteFileNeverAppears) {
  const std::string path = Path("incomplete");
  unlink(path.c_str());
  {
    auto writer = SafetensorsWriter::Create(path, {{"a", StoredType::kF32, {2}}});
    ASSERT_TRUE(writer.ok());
    const float value = 1;
    ASSERT_TRUE(writer->Write("a", 0, &value, 4).ok());
    EXPECT_FALSE(writer->Finish().ok());
  }
  EXPECT_EQ(access(path.c_str(), F_OK), -1);
  EXPECT_EQ(access((path + ".partial").c_str(), F_OK), -1);
}

TEST(SafetensorsWriterTest, RefusesBadDeclarations) {
  const std::string path = Path("bad");
  EXPECT_FALSE(
      SafetensorsWriter::Create(path, {{"a", StoredType::kF32, {1}}, {"a", StoredType::kI64, {1}}})
          .ok());
  EXPECT_FALSE(SafetensorsWriter::Create(path, {{"a", StoredType::kF32, {-1}}}).ok());
  EXPECT_FALSE(SafetensorsWriter::Create(path + "/no/folder", {}).ok());
}

}  // namespace
}  // namespace switchyard::model
