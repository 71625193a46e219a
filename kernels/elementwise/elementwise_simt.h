#pragma once

// Elementwise operations for GPUs: a thread an element, a block a piece of a row.

#include "kernels/elementwise/elementwise.h"
#include "kernels/simt/math.h"

namespace switchyard::kernels::simt {

// How an element of a row changes.

struct ClampElement {
  float limit;
  SWITCHYARD_SIMT float operator()(float x, int64_t, int64_t) const {
    const float raised = -limit > x ? -limit : x;
    return limit < raised ? limit : raised;
  }
};

struct AddElement {
  const float* y;
  int64_t stride;  // 0: the same for all rows
  SWITCHYARD_SIMT float operator()(float x, int64_t row, int64_t i) const {
    return x + y[row * stride + i];
  }
};

struct AddGatedElement {
  const float* gate;
  const float* y;
  int64_t stride;
  SWITCHYARD_SIMT float operator()(float x, int64_t row, int64_t i) const {
    return x + Sigmoid(gate[row]) * y[row * stride + i];
  }
};

template <typename Change>
struct ChangeRowsKernel {
  static constexpr int kThreads = 256;
  struct Shared {};
  FloatRows rows;
  Change change;

  // Blocks that a row takes.
  constexpr int64_t Pieces() const { return (rows.width + kThreads - 1) / kThreads; }

  SWITCHYARD_SIMT int64_t Phases(int64_t) const { return 1; }

  SWITCHYARD_SIMT void Run(int64_t, int64_t block, int thread, Shared&) const {
    const int64_t row = block / Pieces();
    const int64_t i = block % Pieces() * kThreads + thread;
    if (i >= rows.width) return;
    float& x = rows.x[row * rows.stride + i];
    x = change(x, row, i);
  }
};

template <typename Change, typename Launch>
void ChangeRows(const FloatRows& rows, const Change& change, Launch& launch) {
  const ChangeRowsKernel<Change> kernel{rows, change};
  launch(kernel, rows.count * kernel.Pieces());
}

template <typename Launch>
void Clamp(const FloatRows& rows, float limit, Launch& launch) {
  ChangeRows(rows, ClampElement{limit}, launch);
}

template <typename Launch>
void Add(const FloatRows& rows, const float* y, Launch& launch) {
  ChangeRows(rows, AddElement{y, rows.width}, launch);
}

template <typename Launch>
void AddBias(const FloatRows& rows, const float* bias, Launch& launch) {
  ChangeRows(rows, AddElement{bias, 0}, launch);
}

template <typename Launch>
void AddGated(const FloatRows& rows, const float* gate, const float* y, Launch& launch) {
  ChangeRows(rows, AddGatedElement{gate, y, rows.width}, launch);
}

// `rows` rows of `width` floats to elements of `type`; strides in elements.
struct ConvertRowsKernel {
  static constexpr int kThreads = 256;
  struct Shared {};
  const float* from;
  int64_t from_stride;
  int64_t width;
  void* to;
  DType type;
  int64_t to_stride;

  constexpr int64_t Pieces() const { return (width + kThreads - 1) / kThreads; }

  SWITCHYARD_SIMT int64_t Phases(int64_t) const { return 1; }

  SWITCHYARD_SIMT void Run(int64_t, int64_t block, int thread, Shared&) const {
    const int64_t row = block / Pieces();
    const int64_t i = block % Pieces() * kThreads + thread;
    if (i < width) StoreElement(from[row * from_stride + i], to, type, row * to_stride + i);
  }
};

template <typename Launch>
void CopyRows(const CopyRowsArgs& args, Launch& launch) {
  const ConvertRowsKernel kernel{args.from, args.from_stride, args.width,
                                 args.to,   DType::kFloat32,  args.to_stride};
  launch(kernel, args.rows * kernel.Pieces());
}

template <typename Launch>
void ToWire(const float* x, int64_t elements, DType wire, void* y, Launch& launch) {
  const ConvertRowsKernel kernel{x, 0, elements, y, wire, 0};
  launch(kernel, kernel.Pieces());
}

}  // namespace switchyard::kernels::simt
