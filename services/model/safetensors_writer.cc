#include "services/model/safetensors_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/check.h"
#include "services/base/file.h"
#include "services/base/status_macros.h"

namespace switchyard::model {
namespace {

std::string PartialPath(const std::string& path) { return path + ".partial"; }

// Gives each tensor its place; returns the bytes of data.
absl::StatusOr<uint64_t> LayOut(std::vector<TensorDeclaration> declarations,
                                SafetensorsTable& table) {
  std::sort(declarations.begin(), declarations.end(), [](const auto& a, const auto& b) {
    const int64_t a_bytes = SizeOf(a.type);
    const int64_t b_bytes = SizeOf(b.type);
    return a_bytes != b_bytes ? a_bytes > b_bytes : a.name < b.name;
  });
  uint64_t position = 0;
  for (TensorDeclaration& declaration : declarations) {
    int64_t bytes = SizeOf(declaration.type);
    for (const int64_t extent : declaration.shape) {
      if (extent < 0 || __builtin_mul_overflow(bytes, extent, &bytes)) {
        return absl::InvalidArgumentError(
            absl::StrCat("tensor \"", declaration.name, "\": shape out of range"));
      }
    }
    SafetensorsTensor tensor{declaration.type, std::move(declaration.shape), position,
                             position + static_cast<uint64_t>(bytes)};
    position = tensor.end;
    if (!table.emplace(declaration.name, std::move(tensor)).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor \"", declaration.name, "\" is declared twice"));
    }
  }
  return position;
}

// Length and JSON, padded with spaces so that the data begins at a multiple of 8.
std::string Header(const SafetensorsTable& table) {
  nlohmann::json root;
  root["__metadata__"]["format"] = "pt";  // transformers loads no file without it
  for (const auto& [name, tensor] : table) {
    root[name] = {{"dtype", Name(tensor.type)},
                  {"shape", tensor.shape},
                  {"data_offsets", {tensor.begin, tensor.end}}};
  }
  std::string text = root.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  std::string header(sizeof(length), '\0');
  std::memcpy(header.data(), &length, sizeof(length));
  return header + text;
}

}  // namespace

struct SafetensorsWriter::State {
  ~State() {
    if (!finished) unlink(PartialPath(path).c_str());
  }

  std::string path;
  UniqueFd fd;
  SafetensorsTable tensors;
  uint64_t data_start = 0;
  uint64_t data_bytes = 0;
  std::atomic<uint64_t> written = 0;
  bool finished = false;
};

SafetensorsWriter::SafetensorsWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
SafetensorsWriter::SafetensorsWriter(SafetensorsWriter&&) noexcept = default;
SafetensorsWriter& SafetensorsWriter::operator=(SafetensorsWriter&&) noexcept = default;
SafetensorsWriter::~SafetensorsWriter() = default;

absl::StatusOr<SafetensorsWriter> SafetensorsWriter::Create(
    const std::string& path, const std::vector<TensorDeclaration>& tensors) {
  SafetensorsTable table;
  ASSIGN_OR_RETURN(const uint64_t data_bytes, LayOut(tensors, table));
  const std::string header = Header(table);

  const std::string partial = PartialPath(path);
  UniqueFd fd(open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("creating ", partial));
  auto state = std::make_unique<State>();
  state->path = path;
  state->fd = std::move(fd);
  state->tensors = std::move(table);
  state->data_start = header.size();
  state->data_bytes = data_bytes;
  RETURN_IF_ERROR(WriteExactly(state->fd.get(), header.data(), header.size(), 0, partial));
  return SafetensorsWriter(std::move(state));
}

absl::Status SafetensorsWriter::Write(std::string_view tensor, uint64_t offset, const void* source,
                                      uint64_t bytes) {
  const auto it = state_->tensors.find(tensor);
  CHECK(it != state_->tensors.end()) << "tensor " << tensor << " was not declared";
  CHECK(offset <= it->second.bytes() && bytes <= it->second.bytes() - offset)
      << "range beyond tensor " << tensor;
  state_->written.fetch_add(bytes, std::memory_order_relaxed);
  return WriteExactly(state_->fd.get(), source, bytes,
                      state_->data_start + it->second.begin + offset, PartialPath(state_->path));
}

absl::Status SafetensorsWriter::Write(std::string_view tensor, const void* source) {
  const auto it = state_->tensors.find(tensor);
  CHECK(it != state_->tensors.end()) << "tensor " << tensor << " was not declared";
  return Write(tensor, 0, source, it->second.bytes());
}

absl::Status SafetensorsWriter::Finish() {
  const uint64_t written = state_->written.load();
  if (written != state_->data_bytes) {
    return absl::FailedPreconditionError(absl::StrCat(state_->path, ": ", written, " of ",
                                                      state_->data_bytes, " bytes were written"));
  }
  const std::string partial = PartialPath(state_->path);
  if (rename(partial.c_str(), state_->path.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("renaming ", partial));
  }
  state_->finished = true;
  return absl::OkStatus();
}

}  // namespace switchyard::model
