#!/bin/sh
# The digest is of what crosses the shared object's boundary: headers, and sources that are none but
# say how an object of the other side is laid out.
set -eu
header="$1"

for source in kernels/cuda/api.h kernels/cuda/gpu_links.h kernels/device/device.h \
  kernels/base/thread_pool.h kernels/base/thread_pool.cc kernels/matmul/packed_matrix.cc; do
  if ! grep -q -x "//   $source" "$header"; then
    echo "$header is not of $source"
    exit 1
  fi
done
