#pragma once

// Token ids of one choice to the text its client sees.

#include <cstdint>
#include <memory>
#include <string>

#include "gateway/sampling_fields.h"
#include "gateway/stop_matcher.h"
#include "services/tokenizer/incremental_decoder.h"
#include "services/tokenizer/tokenizer.h"

namespace switchyard::gateway {

// Not thread-safe.
class TextAssembler {
 public:
  // Without a tokenizer (null) there is no text. With `continues_text` the first word keeps the
  // space in front of it. The tokenizer must outlive this.
  TextAssembler(const tokenizer::Tokenizer* tokenizer, const SamplingFields& sampling,
                bool continues_text);

  // The text that this token settles. Nothing after a stop string.
  std::string Append(int32_t id);

  // What is left when no more tokens come.
  std::string Finish();

  // The stop string that ended the text, or null.
  const std::string* stop() const { return stops_.found(); }

 private:
  std::string Check(const std::string& text);

  std::unique_ptr<tokenizer::IncrementalDecoder> decoder_;
  StopMatcher stops_;
  const uint32_t min_tokens_;
  uint32_t tokens_ = 0;
};

}  // namespace switchyard::gateway
