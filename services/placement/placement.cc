#include "services/placement/placement.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <tuple>

#include "services/placement/shares.h"

namespace switchyard::placement {
namespace {

struct Move {
  Item item = 0;
  uint32_t from = 0;
  uint32_t to = 0;
  double peak = 0;      // the longer time of the two hosts afterwards
  int new_loads = 0;    // that it adds: -1, 0 or 1
  double to_total = 0;  // what `to` has to do over all layers

  // Better moves first.
  auto Rank() const { return std::tie(peak, new_loads, to_total); }
};

class Placer {
 public:
  explicit Placer(const PlacementInput& input);

  PlacementResult Run();

 private:
  bool Owns(uint32_t host, Item item) const { return held_[host][item]; }
  int NewLoads(Item item, uint32_t from, uint32_t to) const {
    return int{loaded_[from][item]} - int{loaded_[to][item]};
  }
  bool HasRoom(uint32_t host) const { return used_[host] < input_.hosts[host].capacity; }
  uint32_t LayerOf(Item item) const { return item / input_.experts_per_layer; }
  int64_t& LayerLoad(uint32_t host, uint32_t layer) {
    return layer_load_[size_t{host} * input_.layers + layer];
  }
  // Load over speed, `extra` load included: what the host takes for the layer, or for all of them.
  double LayerTime(uint32_t host, uint32_t layer, int64_t extra = 0) {
    return static_cast<double>(LayerLoad(host, layer) + extra) / speed_[host];
  }
  double TotalTime(uint32_t host, int64_t extra = 0) const {
    return static_cast<double>(total_load_[host] + extra) / speed_[host];
  }

  void Add(uint32_t host, Item item);
  void Remove(uint32_t host, Item item);

  void KeepLoaded();
  void DropSurplus(Item item);
  void DropOverCapacity(uint32_t host);

  void Fill();
  bool PlaceDirectly(Item item);
  bool PlaceByMovingAnother(Item item);
  bool PlaceBySpareReplica(Item item);

  void Balance();
  bool BalanceLayer(uint32_t layer);
  bool BalanceTotals();

  const PlacementInput& input_;
  const uint32_t items_;
  const uint32_t hosts_;
  const uint32_t replicas_;          // that the number of hosts allows
  const std::vector<double> speed_;  // per host, the median is 1
  const std::vector<int64_t> load_;  // per item, of one replica

  std::vector<std::vector<bool>> loaded_;      // [host][item], before anything changes
  std::vector<std::vector<bool>> held_;        // [host][item]
  std::vector<std::vector<uint32_t>> owners_;  // [item], ascending
  std::vector<uint32_t> used_;                 // [host]
  std::vector<int64_t> layer_load_;            // [host][layer]
  std::vector<int64_t> total_load_;            // [host]
};

Placer::Placer(const PlacementInput& input)
    : input_(input),
      items_(input.layers * input.experts_per_layer),
      hosts_(static_cast<uint32_t>(input.hosts.size())),
      replicas_(std::min(input.replicas, hosts_)),
      speed_(RelativeSpeeds(input.hosts)),
      load_(ReplicaLoads(input)),
      loaded_(hosts_, std::vector<bool>(items_)),
      held_(hosts_, std::vector<bool>(items_)),
      owners_(items_),
      used_(hosts_),
      layer_load_(size_t{hosts_} * input.layers),
      total_load_(hosts_) {}

void Placer::Add(uint32_t host, Item item) {
  held_[host][item] = true;
  owners_[item].insert(std::lower_bound(owners_[item].begin(), owners_[item].end(), host), host);
  ++used_[host];
  LayerLoad(host, LayerOf(item)) += load_[item];
  total_load_[host] += load_[item];
}

void Placer::Remove(uint32_t host, Item item) {
  held_[host][item] = false;
  std::erase(owners_[item], host);
  --used_[host];
  LayerLoad(host, LayerOf(item)) -= load_[item];
  total_load_[host] -= load_[item];
}

// --- What is loaded stays, as far as it is wanted. ---

void Placer::KeepLoaded() {
  for (uint32_t host = 0; host < hosts_; ++host) {
    for (const Item item : input_.hosts[host].loaded) {
      if (item < items_ && !Owns(host, item)) Add(host, item);
    }
    loaded_[host] = held_[host];
  }
  for (Item item = 0; item < items_; ++item) DropSurplus(item);
  for (uint32_t host = 0; host < hosts_; ++host) DropOverCapacity(host);
}

void Placer::DropSurplus(Item item) {
  while (owners_[item].size() > replicas_) {
    const uint32_t layer = LayerOf(item);
    Remove(*std::max_element(
               owners_[item].begin(), owners_[item].end(),
               [&](uint32_t a, uint32_t b) { return LayerTime(a, layer) < LayerTime(b, layer); }),
           item);
  }
}

void Placer::DropOverCapacity(uint32_t host) {
  while (used_[host] > input_.hosts[host].capacity) {
    std::optional<Item> drop;  // the one with most other owners
    for (Item item = 0; item < items_; ++item) {
      if (!Owns(host, item)) continue;
      if (!drop || owners_[item].size() > owners_[*drop].size()) drop = item;
    }
    Remove(host, *drop);
  }
}

// --- Owners for those that have too few. ---

bool Placer::PlaceDirectly(Item item) {
  std::optional<uint32_t> best;
  const uint32_t layer = LayerOf(item);
  for (uint32_t host = 0; host < hosts_; ++host) {
    if (Owns(host, item) || !HasRoom(host)) continue;
    if (best) {
      const double mine = LayerTime(host, layer, load_[item]);
      const double other = LayerTime(*best, layer, load_[item]);
      if (mine > other || (mine == other && TotalTime(host) >= TotalTime(*best))) continue;
    }
    best = host;
  }
  if (!best) return false;
  Add(*best, item);
  return true;
}

// All hosts with room own the item already: another item makes room on a full one.
bool Placer::PlaceByMovingAnother(Item item) {
  for (uint32_t roomy = 0; roomy < hosts_; ++roomy) {
    if (!HasRoom(roomy)) continue;
    for (uint32_t full = 0; full < hosts_; ++full) {
      if (Owns(full, item) || input_.hosts[full].capacity == 0) continue;
      for (Item other = 0; other < items_; ++other) {
        if (!Owns(full, other) || Owns(roomy, other)) continue;
        Remove(full, other);
        Add(roomy, other);
        Add(full, item);
        return true;
      }
    }
  }
  return false;
}

// No room left: an item with two owners more gives one up.
bool Placer::PlaceBySpareReplica(Item item) {
  std::optional<Move> best;
  for (Item other = 0; other < items_; ++other) {
    if (owners_[other].size() < owners_[item].size() + 2) continue;
    if (best && owners_[other].size() <= owners_[best->item].size()) continue;
    for (const uint32_t host : owners_[other]) {
      if (Owns(host, item)) continue;
      best = Move{.item = other, .from = host};
      break;
    }
  }
  if (!best) return false;
  Remove(best->from, best->item);
  Add(best->from, item);
  return true;
}

// First one owner for everything, then two, and so on. When no item can be placed in a round, the
// capacity is used up: were there a host with room, it would lack some item with too few owners, or
// hold all that another host holds and more, and one of the three ways would apply.
void Placer::Fill() {
  std::vector<Item> order(items_);
  std::iota(order.begin(), order.end(), Item{0});
  std::stable_sort(order.begin(), order.end(), [&](Item a, Item b) { return load_[a] > load_[b]; });
  for (uint32_t wanted = 1; wanted <= replicas_; ++wanted) {
    bool progress = true;
    while (progress) {
      progress = false;
      for (const Item item : order) {
        if (owners_[item].size() >= wanted) continue;
        progress |= PlaceDirectly(item) || PlaceByMovingAnother(item) || PlaceBySpareReplica(item);
      }
    }
  }
}

// --- Shares in proportion to speed. ---

// Moves one item of the layer away from its busiest host, if that helps.
bool Placer::BalanceLayer(uint32_t layer) {
  uint32_t busiest = 0;
  int64_t load = 0;
  double speed = 0;
  for (uint32_t host = 0; host < hosts_; ++host) {
    if (LayerTime(host, layer) > LayerTime(busiest, layer)) busiest = host;
    load += LayerLoad(host, layer);
    speed += speed_[host];
  }
  const double peak = LayerTime(busiest, layer);
  if (peak <= (1 + kTolerance) * static_cast<double>(load) / speed) return false;

  std::optional<Move> best;
  const Item first = layer * input_.experts_per_layer;
  for (Item item = first; item < first + input_.experts_per_layer; ++item) {
    if (!Owns(busiest, item)) continue;
    for (uint32_t to = 0; to < hosts_; ++to) {
      if (Owns(to, item) || !HasRoom(to)) continue;
      const double after =
          std::max(LayerTime(busiest, layer, -load_[item]), LayerTime(to, layer, load_[item]));
      if (after >= peak) continue;
      const Move move{item, busiest, to, after, NewLoads(item, busiest, to), TotalTime(to)};
      if (!best || move.Rank() < best->Rank()) best = move;
    }
  }
  if (!best) return false;
  Remove(best->from, best->item);
  Add(best->to, best->item);
  return true;
}

// Moves one item away from the host with most to do over all layers, where this makes no layer's
// peak higher. Layers with fewer experts than hosts are shared only by this.
bool Placer::BalanceTotals() {
  uint32_t busiest = 0;
  int64_t load = 0;
  double speed = 0;
  for (uint32_t host = 0; host < hosts_; ++host) {
    if (TotalTime(host) > TotalTime(busiest)) busiest = host;
    load += total_load_[host];
    speed += speed_[host];
  }
  const double peak = TotalTime(busiest);
  if (peak <= (1 + kTolerance) * static_cast<double>(load) / speed) return false;

  std::optional<Move> best;
  for (Item item = 0; item < items_; ++item) {
    if (!Owns(busiest, item)) continue;
    const uint32_t layer = LayerOf(item);
    for (uint32_t to = 0; to < hosts_; ++to) {
      if (Owns(to, item) || !HasRoom(to)) continue;
      if (LayerTime(to, layer, load_[item]) > LayerTime(busiest, layer)) continue;
      const double after = std::max(TotalTime(busiest, -load_[item]), TotalTime(to, load_[item]));
      if (after >= peak) continue;
      const Move move{item, busiest, to, after, NewLoads(item, busiest, to), TotalTime(to)};
      if (!best || move.Rank() < best->Rank()) best = move;
    }
  }
  if (!best) return false;
  Remove(best->from, best->item);
  Add(best->to, best->item);
  return true;
}

// One move per layer and round, so that a host with little room gets some of every layer. Each move
// lowers a peak; the bound is against rounding.
void Placer::Balance() {
  if (hosts_ < 2) return;
  for (uint32_t moves = 0; moves < items_ * replicas_; ++moves) {
    bool moved = false;
    for (uint32_t layer = 0; layer < input_.layers; ++layer) moved |= BalanceLayer(layer);
    if (!moved && !BalanceTotals()) return;
  }
}

PlacementResult Placer::Run() {
  PlacementResult result;
  KeepLoaded();
  Fill();
  if (input_.rebalance) Balance();
  for (Item item = 0; item < items_; ++item) {
    if (owners_[item].empty()) {
      result.missing.push_back(item);
    } else if (owners_[item].size() < input_.replicas) {
      result.under_replicated.push_back(item);
    }
  }
  result.owners = std::move(owners_);
  return result;
}

}  // namespace

PlacementResult Place(const PlacementInput& input) { return Placer(input).Run(); }

}  // namespace switchyard::placement
