#pragma once

#include <gtest/gtest.h>

#include "kernels/cuda/devices.h"

// Skips the GoogleTest test that it stands in where cuda:0 cannot be used, and says why.
#define SWITCHYARD_CUDA_OR_SKIP()                                                              \
  if (const absl::Status no_device = ::switchyard::kernels::CheckDevice(0); !no_device.ok()) { \
    GTEST_SKIP() << no_device.message();                                                       \
  }                                                                                            \
  static_assert(true)
