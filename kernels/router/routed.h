#pragma once

// What Route() wrote, for tests.

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "kernels/router/router.h"

namespace switchyard::kernels {

struct Routed {
  absl::Status status;
  std::vector<int32_t> ids, chosen, position;  // [rows][k]
  std::vector<float> weights;                  // [rows][k]
  std::vector<uint8_t> failed;                 // [rows]
};

// Routes with outputs of its own; `route` gets the arguments and returns a status.
template <typename F>
Routed RouteForTestWith(RouterArgs args, F&& route) {
  const size_t choices = static_cast<size_t>(args.rows * args.k);
  Routed routed = {.ids = std::vector<int32_t>(choices, -2),
                   .chosen = std::vector<int32_t>(choices, -2),
                   .position = std::vector<int32_t>(choices, -2),
                   .weights = std::vector<float>(choices, -2.0f),
                   .failed = std::vector<uint8_t>(static_cast<size_t>(args.rows), 2)};
  args.ids = routed.ids.data();
  args.chosen = routed.chosen.data();
  args.position = routed.position.data();
  args.weights = routed.weights.data();
  args.failed = routed.failed.data();
  routed.status = route(args);
  return routed;
}

inline Routed RouteForTest(const RouterArgs& args, int threads = 1) {
  ThreadPool pool(threads);
  return RouteForTestWith(args, [&](const RouterArgs& own) { return Route(own, pool); });
}

}  // namespace switchyard::kernels
