#include "cli/plan_report.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/plan/name_claim.h"

namespace switchyard::cli {
namespace {

using plan::HumanCount;
using plan::LayerParameters;

// 1234567 as "1,234,567".
std::string Exact(int64_t count) {
  std::string digits = absl::StrCat(count);
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<size_t>(at), ",");
  }
  return digits;
}

std::string HumanBytes(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1023.5 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  if (value == static_cast<double>(static_cast<int64_t>(value))) {
    return absl::StrFormat("%.0f %s", value, kUnits[unit]);
  }
  return absl::StrFormat("%.*f %s", value < 10 ? 2 : 1, value, kUnits[unit]);
}

std::string Count(int64_t count, const char* one, const char* many) {
  return absl::StrCat(count, " ", count == 1 ? one : many);
}

class Table {
 public:
  explicit Table(const plan::PlanInput& input, const plan::Plan& plan)
      : input_(input), plan_(plan) {}

  std::string Write() {
    Title();
    Parameters();
    Router();
    if (plan_.demand.items() > 0) {
      Experts();
      Wire();
    }
    return std::move(text_);
  }

 private:
  template <typename... Pieces>
  void Line(const Pieces&... pieces) {
    absl::StrAppend(&text_, pieces..., "\n");
  }

  void Row(const std::string& what, const std::string& a, const std::string& b = "",
           const std::string& note = "") {
    std::string line = absl::StrFormat("  %-34s %19s %23s", what, a, b);
    line.erase(line.find_last_not_of(' ') + 1);
    Line(line, note.empty() ? "" : "  ", note);
  }

  void Title() {
    const model::ModelSpec& spec = input_.spec;
    const auto encoder = static_cast<int64_t>(spec.encoder_layers.size());
    Line(input_.name, ": ", spec.family, ", ", spec.layers.size(), " layers",
         encoder > 0 ? absl::StrCat(" after an encoder of ", encoder) : "", ", hidden ",
         spec.hidden, ", vocabulary ", spec.vocabulary, ", class ",
         std::string(kernels::Name(input_.numerics)));
    if (!plan_.name_disagreement.empty()) Line("Note: ", plan_.name_disagreement, ".");
  }

  void Parameters() {
    const plan::ModelParameters& model = plan_.parameters;
    Line("");
    Row("Parameters", "of a layer", "of the model");
    Part(model.tied ? "embedding and head (one matrix)" : "embedding", model.embedding);
    Part("positions", model.positions);
    Kinds(model.layers);
    Part("final norms", model.final_norms);
    Part(model.tied ? "head bias" : "head", model.head);
    Sum("total", model.total());
    Sum("active per token", model.active());
    if (!model.tied) Sum("  without the input embedding", model.active_without_embedding());
    if (!model.mtp) return;
    Row("prediction block (not in total)", "", Exact(model.mtp->total()),
        absl::StrCat(Exact(model.mtp->copies), " of it copies"));
  }

  void Part(const std::string& what, int64_t count) {
    if (count > 0) Row(what, "", Exact(count));
  }

  void Sum(const std::string& what, int64_t count) {
    Row(what, "", Exact(count), HumanCount(count));
  }

  // Layers that have the same parts together, in the order of their first.
  void Kinds(const std::vector<LayerParameters>& layers) {
    std::vector<std::pair<LayerParameters, int64_t>> kinds;
    for (const LayerParameters& layer : layers) {
      const auto kind = std::find_if(kinds.begin(), kinds.end(),
                                     [&](const auto& known) { return known.first == layer; });
      if (kind == kinds.end()) {
        kinds.emplace_back(layer, 1);
      } else {
        ++kind->second;
      }
    }
    for (const auto& [layer, count] : kinds) Kind(layer, count);
  }

  void Kind(const LayerParameters& layer, int64_t count) {
    const auto part = [&, many = count](const std::string& what, int64_t size) {
      if (size > 0) Row("  " + what, Exact(size), Exact(size * many));
    };
    Row(absl::StrCat(Count(count, "layer", "layers"), layer.experts > 0 ? ", MoE" : ", dense"),
        Exact(layer.total()), Exact(count * layer.total()));
    part("attention", layer.attention);
    part("norms", layer.norms);
    part("dense network", layer.dense);
    part("router", layer.router);
    part("shared experts", layer.shared);
    if (layer.experts == 0) return;
    part(absl::StrCat(layer.experts, " experts of ", Exact(layer.expert)),
         layer.experts * layer.expert);
  }

  void Router() {
    const plan::RouterMemory& router = plan_.router;
    Line("");
    Row("A router worker's memory", "");
    Row("weights", HumanBytes(router.weights));
    Row("KV cache", HumanBytes(router.kv), "",
        absl::StrCat(Count(input_.streams, "stream", "streams"), " of ", input_.context,
                     " tokens, ", Exact(router.kv_per_token), " bytes a token"));
    Row("activations, about", HumanBytes(router.activations));
    if (router.channels > 0) Row("channels to the hosts", HumanBytes(router.channels));
    Row("total", HumanBytes(router.total()));
    for (const plan::HostKind& kind : plan_.kinds) {
      Line("  ", kind.router_fits ? "fits" : "DOES NOT FIT", " a machine of ",
           HumanBytes(kind.memory));
    }
  }

  void Experts() {
    const plan::ExpertDemand& demand = plan_.demand;
    Line("");
    Line("  Expert hosts: ", demand.items(), " experts of ", HumanBytes(demand.expert_bytes), ", ",
         Count(demand.replicas, "replica", "replicas"), ": ",
         HumanBytes(demand.items() * demand.replicas * demand.expert_bytes), "; a host's channel ",
         HumanBytes(demand.channel_bytes));
    if (plan_.layout) Shares(*plan_.layout);
    for (const plan::HostKind& kind : plan_.kinds) {
      if (kind.fewest == 0) {
        Line("  not one expert fits a host of ", HumanBytes(kind.memory));
      } else {
        Line("  of hosts of ", HumanBytes(kind.memory), " it takes at least ", kind.fewest);
      }
    }
  }

  void Shares(const plan::ExpertLayout& layout) {
    std::map<std::pair<int64_t, int64_t>, int64_t, std::greater<>> kinds;  // memory, experts: hosts
    std::map<int64_t, plan::HostShare> shares;                             // by memory
    for (const plan::HostShare& host : layout.hosts) {
      ++kinds[{host.memory, host.experts}];
      shares[host.memory] = host;
    }
    if (layout.fits()) {
      for (const auto& [kind, hosts] : kinds) {
        const auto& [memory, experts] = kind;
        const int64_t used = plan_.demand.channel_bytes + experts * plan_.demand.expert_bytes;
        Row(absl::StrCat(Count(hosts, "host", "hosts"), " of ", HumanBytes(memory)),
            absl::StrCat(experts, " experts"), HumanBytes(used),
            absl::StrFormat("%.0f%%",
                            100.0 * static_cast<double>(used) / static_cast<double>(memory)));
      }
      Line("  fits");
      return;
    }
    for (const auto& [memory, share] : shares) {
      Line("  a host of ", HumanBytes(memory), " has room for ", share.capacity, " experts");
    }
    if (layout.missing > 0) {
      Line("  DOES NOT FIT: ", layout.missing, " experts have no place");
    } else {
      Line("  DOES NOT FIT: ", layout.short_of_replicas, " experts get fewer than ",
           plan_.demand.replicas, " replicas");
    }
  }

  void Wire() {
    const plan::Traffic& traffic = plan_.traffic;
    Line("");
    Row("On the wire, bytes per token", "of a MoE layer",
        Count(traffic.moe_layers, "MoE layer", "MoE layers"));
    Row("dispatch, at most", Exact(traffic.dispatch), Exact(traffic.dispatch * traffic.moe_layers));
    Row("combine", Exact(traffic.combine), Exact(traffic.combine * traffic.moe_layers));
    Row("total", "", Exact(traffic.per_token()), HumanBytes(traffic.per_token()));
  }

  const plan::PlanInput& input_;
  const plan::Plan& plan_;
  std::string text_;
};

nlohmann::json LayerJson(const LayerParameters& layer) {
  nlohmann::json json = {{"attention", layer.attention},
                         {"norms", layer.norms},
                         {"total", layer.total()},
                         {"active", layer.active()}};
  if (layer.dense > 0) json["dense"] = layer.dense;
  if (layer.shared > 0) json["shared_experts"] = layer.shared;
  if (layer.experts == 0) return json;
  json["router"] = layer.router;
  json["expert"] = layer.expert;
  json["experts"] = layer.experts;
  json["top_k"] = layer.top_k;
  return json;
}

nlohmann::json ParametersJson(const plan::ModelParameters& model) {
  nlohmann::json layers = nlohmann::json::array();
  for (const LayerParameters& layer : model.layers) layers.push_back(LayerJson(layer));
  nlohmann::json json = {{"total", model.total()},
                         {"active", model.active()},
                         {"active_without_embedding", model.active_without_embedding()},
                         {"routed_experts", model.routed_experts()},
                         {"embedding", model.embedding},
                         {"positions", model.positions},
                         {"head", model.head},
                         {"final_norms", model.final_norms},
                         {"tied_embeddings", model.tied},
                         {"stored", model.stored()},
                         {"layers", std::move(layers)}};
  if (model.mtp) {
    json["prediction_block"] = {{"total", model.mtp->total()}, {"copies", model.mtp->copies}};
  }
  return json;
}

nlohmann::json LayoutJson(const plan::Plan& plan) {
  const plan::ExpertLayout& layout = *plan.layout;
  nlohmann::json hosts = nlohmann::json::array();
  for (const plan::HostShare& host : layout.hosts) {
    hosts.push_back({{"memory", host.memory},
                     {"capacity", host.capacity},
                     {"experts", host.experts},
                     {"used", host.used}});
  }
  return {{"fits", layout.fits()},
          {"experts_without_place", layout.missing},
          {"experts_short_of_replicas", layout.short_of_replicas},
          {"hosts", std::move(hosts)}};
}

}  // namespace

std::string PlanTable(const plan::PlanInput& input, const plan::Plan& plan) {
  return Table(input, plan).Write();
}

nlohmann::json PlanJson(const plan::PlanInput& input, const plan::Plan& plan) {
  const plan::RouterMemory& router = plan.router;
  nlohmann::json json = {{"name", input.name},
                         {"model_type", input.spec.family},
                         {"dtype", std::string(kernels::Name(input.numerics))},
                         {"parameters", ParametersJson(plan.parameters)},
                         {"router_worker",
                          {{"weights", router.weights},
                           {"kv_bytes_per_token", router.kv_per_token},
                           {"kv_cache", router.kv},
                           {"activations", router.activations},
                           {"channels", router.channels},
                           {"total", router.total()},
                           {"context", input.context},
                           {"streams", input.streams}}},
                         {"expert_bytes", plan.demand.expert_bytes},
                         {"experts", plan.demand.items()},
                         {"replicas", plan.demand.replicas},
                         {"channel_bytes", plan.demand.channel_bytes},
                         {"wire_bytes_per_token",
                          {{"moe_layers", plan.traffic.moe_layers},
                           {"dispatch_of_a_layer", plan.traffic.dispatch},
                           {"combine_of_a_layer", plan.traffic.combine},
                           {"total", plan.traffic.per_token()}}}};
  if (!plan.name_disagreement.empty()) json["name_disagreement"] = plan.name_disagreement;
  for (const plan::HostKind& kind : plan.kinds) {
    json["host_kinds"].push_back({{"memory", kind.memory},
                                  {"fewest_hosts", kind.fewest},
                                  {"router_worker_fits", kind.router_fits}});
  }
  if (plan.layout) json["layout"] = LayoutJson(plan);
  return json;
}

}  // namespace switchyard::cli
