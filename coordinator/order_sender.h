#pragma once

// Sends orders to expert hosts, any number at a time, without waiting for them.

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "coordinator/coordinator_state.h"

namespace switchyard::coordinator {

// Send is called by one thread; `done` by threads of gRPC, once per order. The destructor cancels
// what is in flight and waits for its `done`.
class OrderSender {
 public:
  using Done = std::function<void(uint64_t id, absl::StatusOr<LayerList> loaded)>;

  explicit OrderSender(Done done);
  ~OrderSender();
  OrderSender(const OrderSender&) = delete;
  OrderSender& operator=(const OrderSender&) = delete;

  void Send(const Order& order);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace switchyard::coordinator
