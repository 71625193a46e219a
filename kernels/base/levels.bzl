"""Compiler options of the CPU levels (kernels/base/simd.h), for file_copts."""

# Kernels are optimised in every configuration: at -O0 vector code is slower than scalar code.
SCALAR_COPTS = ["-O3"]
AVX2_COPTS = ["-O3", "-mavx2", "-mfma"]
AVX512_COPTS = [
    "-O3",
    "-mavx512f",
    "-mavx512bw",
    "-mavx512dq",
    "-mavx512vl",
    "-mfma",
    # gcc 12 reports its own intrinsics, which pass an undefined register on purpose.
    "-Wno-uninitialized",
]
AVX512_BF16_COPTS = AVX512_COPTS + ["-mavx512bf16"]
