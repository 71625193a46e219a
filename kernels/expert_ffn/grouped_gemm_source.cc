#include "kernels/expert_ffn/grouped_gemm_source.h"

#include <limits>

#include "absl/strings/str_cat.h"

namespace switchyard::kernels::grouped {
namespace {

constexpr uintptr_t kAlignment = 16;

absl::Status CheckBias(absl::string_view name, std::span<const float> bias, int64_t features) {
  if (bias.empty() || std::ssize(bias) == features) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " has ", bias.size(), " elements; its matrix has ", features, " rows"));
}

absl::Status CheckLines(absl::string_view name, const PackedShape& shape) {
  // A kernel may name lines of one block behind the last.
  if (shape.line(shape.blocks() + 1, 0) <= std::numeric_limits<int32_t>::max()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      name, " of an expert has ", shape.features, " x ", shape.k,
      " elements, more than a tensor map can name: spread the expert over more hosts"));
}

}  // namespace

absl::Status CheckSource(const ExpertSource& source) {
  if (source.hidden < 1 || source.hidden % 8 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("hidden size ", source.hidden,
                     ": tensor cores take rows of a multiple of 8 elements (16 bytes); class fp32 "
                     "on the GPU takes any"));
  }
  if (source.intermediate < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("intermediate size ", source.intermediate, ": must be at least 1"));
  }
  if (source.gate.data == nullptr || source.down.data == nullptr) {
    return absl::InvalidArgumentError("an expert needs a gate and a down matrix");
  }
  if (source.activation == Activation::kClampedSwiGlu && !source.gated()) {
    return absl::InvalidArgumentError("clamped SwiGLU needs an up matrix");
  }
  const ExpertShape shape = ShapeOf(source);
  absl::Status status = CheckBias("gate_bias", source.gate_bias, source.intermediate);
  status.Update(CheckBias("up_bias", source.up_bias, source.gated() ? source.intermediate : 0));
  status.Update(CheckBias("down_bias", source.down_bias, source.hidden));
  status.Update(CheckLines("the first product", shape.first()));
  status.Update(CheckLines("the down product", shape.down()));
  return status;
}

absl::Status CheckRows(std::span<const ExpertRow> rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto input = reinterpret_cast<uintptr_t>(rows[i].input);
    const auto output = reinterpret_cast<uintptr_t>(rows[i].output);
    if ((input | output) % kAlignment == 0) continue;
    return absl::InvalidArgumentError(absl::StrCat("row ", i,
                                                   " of an expert batch is not aligned to ",
                                                   kAlignment, " bytes, input or output"));
  }
  return absl::OkStatus();
}

}  // namespace switchyard::kernels::grouped
