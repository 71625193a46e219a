#include "kernels/cuda/tensor_map.h"

#include <cuda_runtime.h>

#include <limits>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_status.h"

namespace switchyard::kernels {
namespace {

constexpr uint32_t kLineElements = 64;
constexpr uint32_t kLineBytes = 128;
constexpr int32_t kMostBoxLines = 256;
constexpr uintptr_t kAlignment = 16;

// The version that brought the function in its present form.
constexpr unsigned kDriverVersion = 12000;

using Encode = decltype(&cuTensorMapEncodeTiled);

absl::StatusOr<Encode> FindEncode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t error = cudaGetDriverEntryPointByVersion(
      "cuTensorMapEncodeTiled", &function, kDriverVersion, cudaEnableDefault, &found);
  if (error != cudaSuccess) {
    return FromCuda(error, "cudaGetDriverEntryPointByVersion of cuTensorMapEncodeTiled");
  }
  if (found != cudaDriverEntryPointSuccess || function == nullptr) {
    return FromCuda(cudaErrorCallRequiresNewerDriver, "looking for cuTensorMapEncodeTiled");
  }
  return reinterpret_cast<Encode>(function);
}

}  // namespace

absl::StatusOr<TensorMapParameters> ParametersOf(const LineMap& map) {
  if (reinterpret_cast<uintptr_t>(map.first) % kAlignment != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a tensor map needs memory aligned to ", kAlignment, " bytes"));
  }
  // A line is named by a signed 32-bit number in the kernel.
  if (map.lines < 1 || map.lines > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a tensor map of ", map.lines, " lines: there must be 1 to 2^31 - 1"));
  }
  if (map.box_lines < 1 || map.box_lines > kMostBoxLines) {
    return absl::InvalidArgumentError(absl::StrCat("a tensor map with a box of ", map.box_lines,
                                                   " lines: there must be 1 to ", kMostBoxLines));
  }
  return TensorMapParameters{
      .address = map.first,
      .size = {kLineElements, static_cast<cuuint64_t>(map.lines)},
      .stride = {kLineBytes},
      .box = {kLineElements, static_cast<cuuint32_t>(map.box_lines)},
      .spacing = {1, 1},
  };
}

absl::StatusOr<CUtensorMap> EncodeTensorMap(const LineMap& map) {
  const absl::StatusOr<TensorMapParameters> parameters = ParametersOf(map);
  if (!parameters.ok()) return parameters.status();
  const absl::StatusOr<Encode> encode = FindEncode();
  if (!encode.ok()) return encode.status();
  CUtensorMap encoded;
  // A box is read whole, so L2 may fetch as much as it can at a time.
  const CUresult result =
      (*encode)(&encoded, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, parameters->address,
                parameters->size, parameters->stride, parameters->box, parameters->spacing,
                CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    return absl::InternalError(absl::StrCat("cuTensorMapEncodeTiled of ", map.lines,
                                            " lines: CUresult ", static_cast<int>(result),
                                            "; this is a fault of the program"));
  }
  return encoded;
}

}  // namespace switchyard::kernels
