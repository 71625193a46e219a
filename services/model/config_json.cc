#include "services/model/config_json.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/model/families/families.h"
#include "services/model/families/parse.h"
#include "services/model/generation_config.h"
#include "services/model/json_fields.h"

namespace switchyard::model {
namespace {

constexpr char kQuantization[] = "quantization_config";

absl::Status RefuseCode(const JsonFields& config) {
  if (!config.Has("auto_map")) return absl::OkStatus();
  return config.Error("auto_map",
                      "asks for code from the checkpoint to be run, which Switchyard never does; "
                      "remove the key if the model is the family's own architecture");
}

absl::Status CheckFp8(const JsonFields& quantization) {
  ASSIGN_OR_RETURN(const std::string format, quantization.String("fmt", "e4m3"));
  if (format != "e4m3") {
    return quantization.Unsupported(
        "fmt", absl::StrCat("is \"", format.substr(0, 32), "\"; supported is \"e4m3\""));
  }
  ASSIGN_OR_RETURN(const std::vector<int64_t> block,
                   quantization.Integers("weight_block_size", 1, kMaxWidth));
  if (block == std::vector<int64_t>{128, 128}) return absl::OkStatus();
  return quantization.Unsupported("weight_block_size", "is not [128, 128]");
}

absl::StatusOr<Quantization> ParseQuantization(const JsonFields& config,
                                               const std::string& family) {
  if (!config.Has(kQuantization)) return Quantization::kNone;
  ASSIGN_OR_RETURN(const JsonFields quantization, config.Object(kQuantization));
  ASSIGN_OR_RETURN(const std::string method, quantization.String("quant_method"));
  if (method == "fp8") {
    RETURN_IF_ERROR(CheckFp8(quantization));
    return Quantization::kFp8Block;
  }
  if (method == "mxfp4" && family == "gpt_oss") return Quantization::kMxfp4;
  return quantization.Unsupported(
      "quant_method",
      absl::StrCat("is \"", method.substr(0, 32),
                   "\"; supported are \"fp8\" with blocks of 128 x "
                   "128 and, for gpt_oss, \"mxfp4\"; or use a checkpoint stored as float32 or "
                   "bfloat16"));
}

}  // namespace

absl::StatusOr<ModelSpec> ParseConfig(const std::string& text, const std::string& file) {
  ASSIGN_OR_RETURN(const JsonFields config, JsonFields::Parse(text, file));
  ModelSpec spec;
  ASSIGN_OR_RETURN(spec.family, config.String("model_type"));
  const Family* family = FindFamily(spec.family);
  if (family == nullptr) {
    return config.Unsupported("model_type", absl::StrCat("is \"", spec.family.substr(0, 32),
                                                         "\"; supported are ", FamilyList()));
  }
  RETURN_IF_ERROR(RefuseCode(config));
  ASSIGN_OR_RETURN(spec.quantization, ParseQuantization(config, spec.family));
  RETURN_IF_ERROR(family->parse(config, spec));
  // Dynamic rope is what takes a model beyond max_position_embeddings.
  if (spec.positions == PositionKind::kRope && spec.rope.kind == RopeKind::kDynamic) {
    const double reach = static_cast<double>(spec.max_positions) * spec.rope.factor;
    spec.max_positions = std::min(static_cast<int64_t>(reach), kMaxPositions);
  }
  return spec;
}

absl::Status ApplyGenerationConfig(const std::string& text, const std::string& file,
                                   ModelSpec& spec) {
  ASSIGN_OR_RETURN(GenerationConfig config, ParseGenerationConfig(text, file, spec.vocabulary));
  if (config.bos_token) spec.bos_token = *config.bos_token;
  if (config.eos_tokens) spec.eos_tokens = *std::move(config.eos_tokens);
  return absl::OkStatus();
}

}  // namespace switchyard::model
