#pragma once

// The open Watch calls. A watcher that reads slowly gets the latest placement next, not a queue.

#include <grpcpp/support/server_callback.h>

#include <memory>

#include "proto/cluster.pb.h"

namespace switchyard::coordinator {

// Thread-safe. Calls may outlive the hub; after Close they end by themselves.
class WatchHub {
 public:
  WatchHub();
  ~WatchHub();  // Close
  WatchHub(const WatchHub&) = delete;
  WatchHub& operator=(const WatchHub&) = delete;

  // A new call: sends the present placement, if there is one, and every later one. Belongs to gRPC.
  grpc::ServerWriteReactor<v1::Placement>* Open();

  void Publish(std::shared_ptr<const v1::Placement> placement);

  // Ends all calls with UNAVAILABLE, and later ones at once.
  void Close();

 private:
  class Watcher;
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace switchyard::coordinator
