#include "gateway/text_assembler.h"

namespace switchyard::gateway {

TextAssembler::TextAssembler(const tokenizer::Tokenizer* tokenizer, const SamplingFields& sampling,
                             bool continues_text)
    : stops_(sampling.stop, sampling.include_stop), min_tokens_(sampling.min_tokens) {
  if (tokenizer == nullptr) return;
  decoder_ = tokenizer->NewDecoder(sampling.skip_special);
  if (continues_text) decoder_->ContinueText();
}

std::string TextAssembler::Check(const std::string& text) {
  return tokens_ <= min_tokens_ && min_tokens_ > 0 ? stops_.Pass(text) : stops_.Append(text);
}

std::string TextAssembler::Append(int32_t id) {
  ++tokens_;
  return decoder_ ? Check(decoder_->Append(id)) : "";
}

std::string TextAssembler::Finish() {
  if (!decoder_) return "";
  std::string text = Check(decoder_->Finish());
  return text + stops_.Finish();
}

}  // namespace switchyard::gateway
