#include "expert_service/batch_queue.h"

#include <utility>

namespace switchyard::expert {

void BatchQueue::Push(WaitingDispatch dispatch) {
  auto& queue = dispatch.frame->header().phase == transport::Phase::kDecode ? decode_ : prefill_;
  queue.push_back(std::move(dispatch));
}

void BatchQueue::TakeBatch(std::vector<WaitingDispatch>& batch) {
  batch.clear();
  const bool prefill_first = !prefill_.empty() && passed_over_ >= kMostPassedOver;
  TakeFrom(prefill_first ? prefill_ : decode_, batch);
  if (batch.empty()) TakeFrom(prefill_first ? decode_ : prefill_, batch);
  if (batch.empty()) return;
  const bool took_decode = batch.front().frame->header().phase == transport::Phase::kDecode;
  passed_over_ = took_decode && !prefill_.empty() ? passed_over_ + 1 : 0;
}

void BatchQueue::TakeFrom(std::deque<WaitingDispatch>& queue, std::vector<WaitingDispatch>& batch) {
  uint32_t taken = 0;
  for (auto waiting = queue.begin(); waiting != queue.end();) {
    if (!batch.empty() && taken + waiting->assignments > max_assignments_) return;
    waiting->reply = waiting->channel->TryAcquire();
    if (waiting->reply == nullptr) {
      ++waiting;
      continue;
    }
    taken += waiting->assignments;
    batch.push_back(std::move(*waiting));
    waiting = queue.erase(waiting);
  }
}

std::vector<WaitingDispatch> BatchQueue::TakeExpired(TimePoint now) {
  std::vector<WaitingDispatch> expired;
  for (auto* queue : {&decode_, &prefill_}) {
    for (WaitingDispatch& waiting : *queue) {
      if (waiting.expires <= now) expired.push_back(std::move(waiting));
    }
    std::erase_if(*queue, [](const WaitingDispatch& waiting) { return waiting.frame == nullptr; });
  }
  return expired;
}

void BatchQueue::DropChannel(const transport::Channel* channel) {
  const auto from_channel = [channel](const WaitingDispatch& waiting) {
    return waiting.channel == channel;
  };
  std::erase_if(decode_, from_channel);
  std::erase_if(prefill_, from_channel);
}

}  // namespace switchyard::expert
