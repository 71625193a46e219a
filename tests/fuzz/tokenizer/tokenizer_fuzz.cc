// Bytes as a tokenizer.json. Whatever they are, they are refused or give a tokenizer that encodes,
// and whose streams are its decoding.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "services/base/check.h"
#include "services/base/file.h"
#include "services/tokenizer/tokenizer.h"

namespace switchyard::tokenizer {
namespace {

const std::string& Folder() {
  static const std::string* const folder = [] {
    std::string name = std::filesystem::temp_directory_path() / "tokenizer_fuzz.XXXXXX";
    CHECK(mkdtemp(name.data()) != nullptr);
    return new std::string(name);
  }();
  return *folder;
}

void TryStream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  const auto decoder = tokenizer.NewDecoder(/*skip_special=*/true);
  std::string text;
  for (const int32_t id : ids) text += decoder->Append(id);
  CHECK(text + decoder->Finish() == tokenizer.Decode(ids, /*skip_special=*/true));
}

}  // namespace
}  // namespace switchyard::tokenizer

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace tokenizer = switchyard::tokenizer;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  CHECK(switchyard::WriteWholeFile(tokenizer::Folder() + "/tokenizer.json", bytes).ok());
  const auto opened = tokenizer::Tokenizer::Open(tokenizer::Folder());
  if (!opened.ok()) return 0;
  const auto ids =
      (*opened)->Encode("a ab \xC3\xA9 \xF0\x9F\x98\x80 <s>aab ", /*add_special=*/true);
  if (ids.ok()) tokenizer::TryStream(**opened, *ids);
  std::vector<int32_t> all;
  for (int32_t id = -1; id <= std::min((*opened)->vocabulary(), 300); ++id) all.push_back(id);
  tokenizer::TryStream(**opened, all);
  return 0;
}
