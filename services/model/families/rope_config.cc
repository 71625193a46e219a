#include "services/model/families/rope_config.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/model/families/parse.h"

namespace switchyard::model {
namespace {

constexpr double kMaxTheta = 1e15;
constexpr double kMaxFactor = 1e6;
constexpr double kTiny = 1e-6;
constexpr char kOriginal[] = "original_max_position_embeddings";
constexpr char kPartial[] = "partial_rotary_factor";

// `scaling` is rope_scaling or rope_parameters.
struct Source {
  const JsonFields& config;
  const JsonFields& scaling;
  const RopeOptions& options;
};

absl::Status ParseFactor(const Source& source, RopeSpec& rope) {
  ASSIGN_OR_RETURN(rope.factor, source.scaling.Number("factor", 1, kMaxFactor));
  return absl::OkStatus();
}

absl::Status ParseOriginal(const Source& source, RopeSpec& rope) {
  const JsonFields& holder = source.config.Has(kOriginal) ? source.config : source.scaling;
  ASSIGN_OR_RETURN(rope.original_max_positions, holder.Integer(kOriginal, 1, kMaxPositions));
  return absl::OkStatus();
}

// The original length, else the model's own; the factor, else what leads from one to the other.
absl::Status ParseExtension(const Source& source, RopeSpec& rope) {
  if (source.config.Has(kOriginal) || source.scaling.Has(kOriginal)) {
    RETURN_IF_ERROR(ParseOriginal(source, rope));
  } else {
    rope.original_max_positions = source.options.max_positions;
  }
  const double computed = static_cast<double>(source.options.max_positions) /
                          static_cast<double>(rope.original_max_positions);
  ASSIGN_OR_RETURN(rope.factor, source.scaling.Number("factor", kTiny, kMaxFactor, computed));
  if (source.scaling.Has("attention_factor")) {
    ASSIGN_OR_RETURN(rope.attention_factor,
                     source.scaling.Number("attention_factor", 0, kMaxFactor));
  }
  return absl::OkStatus();
}

// The exponent d / (d - 2) of a stretched base.
absl::Status RequireTwoPairs(const Source& source, const RopeSpec& rope) {
  if (rope.rotary_dim > 2) return absl::OkStatus();
  return source.scaling.Error("rope_type", "needs heads in which more than one pair rotates");
}

absl::Status ParseDynamic(const Source& source, RopeSpec& rope) {
  RETURN_IF_ERROR(RequireTwoPairs(source, rope));
  rope.original_max_positions = source.options.max_positions;
  return ParseFactor(source, rope);
}

absl::Status ParseYarn(const Source& source, RopeSpec& rope) {
  RETURN_IF_ERROR(ParseExtension(source, rope));
  ASSIGN_OR_RETURN(rope.beta_fast, source.scaling.Number("beta_fast", kTiny, kMaxFactor, 32));
  ASSIGN_OR_RETURN(rope.beta_slow, source.scaling.Number("beta_slow", kTiny, kMaxFactor, 1));
  ASSIGN_OR_RETURN(rope.truncate, source.scaling.Bool("truncate", true));
  if (rope.theta <= 1)
    return source.scaling.Error("rope_theta", "must be greater than 1 with yarn");
  return absl::OkStatus();
}

absl::Status ParseLlama3(const Source& source, RopeSpec& rope) {
  RETURN_IF_ERROR(ParseFactor(source, rope));
  const JsonFields& scaling = source.scaling;
  ASSIGN_OR_RETURN(rope.low_frequency_factor, scaling.Number("low_freq_factor", kTiny, kMaxFactor));
  ASSIGN_OR_RETURN(rope.high_frequency_factor,
                   scaling.Number("high_freq_factor", kTiny, kMaxFactor));
  if (rope.high_frequency_factor <= rope.low_frequency_factor) {
    return scaling.Error("high_freq_factor", "must be greater than low_freq_factor");
  }
  return ParseOriginal(source, rope);
}

absl::Status ParseLongrope(const Source& source, RopeSpec& rope) {
  RETURN_IF_ERROR(ParseExtension(source, rope));
  const JsonFields& scaling = source.scaling;
  const auto half = static_cast<size_t>(rope.rotary_dim / 2);
  for (const auto& [key, factors] : {std::pair{"short_factor", &rope.short_factor},
                                     std::pair{"long_factor", &rope.long_factor}}) {
    ASSIGN_OR_RETURN(*factors, scaling.Numbers(key, kTiny, kMaxFactor));
    if (factors->size() == half) continue;
    return scaling.Error(
        key, absl::StrCat("has ", factors->size(), " entries; ", half, " pairs of a head rotate"));
  }
  for (const auto& [key, mscale] : {std::pair{"short_mscale", &rope.short_mscale},
                                    std::pair{"long_mscale", &rope.long_mscale}}) {
    if (!scaling.Has(key)) continue;
    ASSIGN_OR_RETURN(*mscale, scaling.Number(key, 0, kMaxFactor));
  }
  return absl::OkStatus();
}

absl::Status ParseNtk(const Source& source, RopeSpec& rope) {
  RETURN_IF_ERROR(RequireTwoPairs(source, rope));
  ASSIGN_OR_RETURN(rope.alpha, source.scaling.Number("alpha", kTiny, kMaxFactor));
  return absl::OkStatus();
}

absl::Status ParseNothing(const Source&, RopeSpec&) { return absl::OkStatus(); }

struct NamedKind {
  const char* name;
  RopeKind kind;
  absl::Status (*parse)(const Source& source, RopeSpec& rope);
};

constexpr NamedKind kKinds[] = {{"default", RopeKind::kDefault, ParseNothing},
                                {"linear", RopeKind::kLinear, ParseFactor},
                                {"dynamic", RopeKind::kDynamic, ParseDynamic},
                                {"yarn", RopeKind::kYarn, ParseYarn},
                                {"llama3", RopeKind::kLlama3, ParseLlama3},
                                {"longrope", RopeKind::kLongrope, ParseLongrope},
                                {"ntk", RopeKind::kNtk, ParseNtk}};

absl::Status ParseKind(const Source& source, RopeSpec& rope) {
  const JsonFields& scaling = source.scaling;
  for (const char* key : {"full_attention", "sliding_attention"}) {
    if (scaling.Has(key)) {
      return scaling.Unsupported(key,
                                 "gives some layers a rope of their own, which is not "
                                 "supported");
    }
  }
  // Older files say "type".
  const char* type_key = scaling.Has("rope_type") ? "rope_type" : "type";
  ASSIGN_OR_RETURN(const std::string name, scaling.String(type_key, "default"));
  std::string known;
  for (const NamedKind& kind : kKinds) {
    absl::StrAppend(&known, known.empty() ? "\"" : ", \"", kind.name, "\"");
    if (name != kind.name) continue;
    rope.kind = kind.kind;
    if (rope.kind != RopeKind::kDefault) {
      // Latent attention takes mscale_all_dim into its own scale, whatever the kind.
      ASSIGN_OR_RETURN(rope.mscale, scaling.Number("mscale", 0, kMaxFactor, 0));
      ASSIGN_OR_RETURN(rope.mscale_all_dim, scaling.Number("mscale_all_dim", 0, kMaxFactor, 0));
    }
    return kind.parse(source, rope);
  }
  return scaling.Unsupported(
      type_key, absl::StrCat("is \"", name.substr(0, 32), "\"; supported are ", known));
}

absl::Status ParseRotaryDim(const JsonFields& config, const JsonFields* scaling,
                            const RopeOptions& options, RopeSpec& rope) {
  ASSIGN_OR_RETURN(double partial, config.Number(kPartial, 0, 1, options.default_partial));
  const JsonFields* holder = &config;
  if (scaling != nullptr && scaling->Has(kPartial)) {
    holder = scaling;
    ASSIGN_OR_RETURN(partial, scaling->Number(kPartial, 0, 1));
  }
  if (partial != 1 && !options.partial) {
    return holder->Unsupported(kPartial, "is not 1, which this family does not have");
  }
  rope.rotary_dim = static_cast<int64_t>(static_cast<double>(options.head_dim) * partial);
  if (rope.rotary_dim < 2 || rope.rotary_dim % 2 != 0) {
    return holder->Error(kPartial, absl::StrCat("makes ", rope.rotary_dim, " of ", options.head_dim,
                                                " elements rotate; must be even and not 0"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RopeSpec> ParseRope(const JsonFields& config, const RopeOptions& options) {
  RopeSpec rope;
  ASSIGN_OR_RETURN(rope.theta, config.Number("rope_theta", 1, kMaxTheta, options.theta));
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!config.Has(key)) continue;
    ASSIGN_OR_RETURN(const JsonFields scaling, config.Object(key));
    ASSIGN_OR_RETURN(rope.theta, scaling.Number("rope_theta", 1, kMaxTheta, rope.theta));
    RETURN_IF_ERROR(ParseRotaryDim(config, &scaling, options, rope));
    RETURN_IF_ERROR(ParseKind({config, scaling, options}, rope));
    return rope;
  }
  RETURN_IF_ERROR(ParseRotaryDim(config, nullptr, options, rope));
  return rope;
}

}  // namespace switchyard::model
