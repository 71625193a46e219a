#pragma once

// Hopper's matrix instruction on tensor cores (PTX ISA, "wgmma"): the 128 threads of a warpgroup
// add the product of 64 x 16 and 16 x columns bf16 in shared memory, both with k contiguous, to
// fp32 sums in their registers. For nvcc only. It runs beside the threads: the sums are theirs
// again after WaitForProducts.

#include <cstdint>

namespace switchyard::kernels {

// Before the first product after the threads have touched the sums.
__device__ inline void BeginProducts() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

// Where the sums pass from the threads to the products or back: the compiler, which does not know
// that products write registers later, moves no use of them across.
template <int kRegisters>
__device__ inline void HandOver(float (&sums)[kRegisters]) {
#pragma unroll
  for (float& sum : sums) asm volatile("" : "+f"(sum)::"memory");
}

// The products since the last call are a group from now on.
__device__ inline void CommitProducts() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Waits for all groups but the latest `kLatest`.
template <int kLatest>
__device__ inline void WaitForProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLatest) : "memory");
}

// Operands of the assembler: the first 4 * 2^i registers, and the sums that they hold.
#define SWITCHYARD_NAMES_4 "%0, %1, %2, %3"
#define SWITCHYARD_NAMES_8 \
  SWITCHYARD_NAMES_4       \
  ", %4, %5, %6, %7"
#define SWITCHYARD_NAMES_16 \
  SWITCHYARD_NAMES_8        \
  ", %8, %9, %10, %11, %12, %13, %14, %15"
#define SWITCHYARD_NAMES_32 \
  SWITCHYARD_NAMES_16       \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define SWITCHYARD_NAMES_64                                                          \
  SWITCHYARD_NAMES_32                                                                \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define SWITCHYARD_NAMES_128                                                                     \
  SWITCHYARD_NAMES_64                                                                            \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"             \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"             \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
  ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, " \
  "%127"
#define SWITCHYARD_SUMS_4(i) "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3])
#define SWITCHYARD_SUMS_8(i) SWITCHYARD_SUMS_4(i), SWITCHYARD_SUMS_4(i + 4)
#define SWITCHYARD_SUMS_16(i) SWITCHYARD_SUMS_8(i), SWITCHYARD_SUMS_8(i + 8)
#define SWITCHYARD_SUMS_32(i) SWITCHYARD_SUMS_16(i), SWITCHYARD_SUMS_16(i + 16)
#define SWITCHYARD_SUMS_64(i) SWITCHYARD_SUMS_32(i), SWITCHYARD_SUMS_32(i + 32)
#define SWITCHYARD_SUMS_128(i) SWITCHYARD_SUMS_64(i), SWITCHYARD_SUMS_64(i + 64)

// A function for one number of columns; `a`, `b`: names of the operands behind the sums.
#define SWITCHYARD_PRODUCT(columns, registers, a, b)                                          \
  __device__ inline void AddProduct(uint64_t left, uint64_t right, float(&sums)[registers]) { \
    asm volatile(                                                                             \
        "{\n"                                                                                 \
        ".reg .pred add;\n"                                                                   \
        "setp.eq.u32 add, 0, 0;\n"                                                            \
        "wgmma.mma_async.sync.aligned.m64n" #columns                                          \
        "k16.f32.bf16.bf16 "                                                                  \
        "{" SWITCHYARD_NAMES_##registers "}, " a ", " b                                       \
                                         ", add, 1, 1, 0, 0;\n"                               \
                                         "}"                                                  \
        : SWITCHYARD_SUMS_##registers(0)                                                      \
        : "l"(left), "l"(right));                                                             \
  }

// sums += left right^T, operands given by descriptors; the number of columns is twice that of a
// thread's sums.
SWITCHYARD_PRODUCT(8, 4, "%4", "%5")
SWITCHYARD_PRODUCT(16, 8, "%8", "%9")
SWITCHYARD_PRODUCT(32, 16, "%16", "%17")
SWITCHYARD_PRODUCT(64, 32, "%32", "%33")
SWITCHYARD_PRODUCT(128, 64, "%64", "%65")
SWITCHYARD_PRODUCT(256, 128, "%128", "%129")

#undef SWITCHYARD_PRODUCT
#undef SWITCHYARD_NAMES_4
#undef SWITCHYARD_SUMS_4
#undef SWITCHYARD_NAMES_8
#undef SWITCHYARD_SUMS_8
#undef SWITCHYARD_NAMES_16
#undef SWITCHYARD_SUMS_16
#undef SWITCHYARD_NAMES_32
#undef SWITCHYARD_SUMS_32
#undef SWITCHYARD_NAMES_64
#undef SWITCHYARD_SUMS_64
#undef SWITCHYARD_NAMES_128
#undef SWITCHYARD_SUMS_128

}  // namespace switchyard::kernels
