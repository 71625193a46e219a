#include "kernels/cuda/cuda_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace switchyard::kernels {
namespace {

using ::testing::HasSubstr;

TEST(CudaStatusTest, SuccessIsOk) { EXPECT_TRUE(FromCuda(cudaSuccess, "cudaMalloc").ok()); }

TEST(CudaStatusTest, NamesTheCallAndTheError) {
  const absl::Status status = FromCuda(cudaErrorInvalidValue, "cudaMemcpyAsync of 12 bytes");
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  const std::string message(status.message());
  EXPECT_THAT(message, HasSubstr("cudaMemcpyAsync of 12 bytes"));
  EXPECT_THAT(message, HasSubstr("invalid argument (cudaErrorInvalidValue)"));
}

TEST(CudaStatusTest, OutOfMemoryIsResourceExhausted) {
  EXPECT_EQ(FromCuda(cudaErrorMemoryAllocation, "cudaMalloc").code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(CudaStatusTest, MissingDeviceAndDriverSayWhatToDo) {
  for (const cudaError_t error : {cudaErrorNoDevice, cudaErrorInsufficientDriver}) {
    const absl::Status status = FromCuda(error, "cudaGetDeviceCount");
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("nvidia-smi"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("--device cpu"));
  }
  EXPECT_THAT(std::string(FromCuda(cudaErrorNoKernelImageForDevice, "launch").message()),
              HasSubstr("sm_90a"));
}

TEST(CudaStatusTest, ErrorsThatEndTheProcessSaySo) {
  for (const cudaError_t error : {cudaErrorIllegalAddress, cudaErrorLaunchFailure, cudaErrorAssert,
                                  cudaErrorECCUncorrectable}) {
    const absl::Status status = FromCuda(error, "cudaStreamSynchronize");
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(status.message()), HasSubstr("must be restarted"));
  }
  EXPECT_THAT(std::string(FromCuda(cudaErrorInvalidConfiguration, "launch").message()),
              Not(HasSubstr("must be restarted")));
}

}  // namespace
}  // namespace switchyard::kernels
