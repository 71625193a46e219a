#pragma once

// A sequence of tokens on its way through the model, as scheduler and KV cache see it.

#include <cstdint>
#include <vector>

#include "router_service/kv_cache.h"
#include "router_service/sequence_rope.h"

namespace switchyard::router {

struct Sequence {
  uint64_t id = 0;              // in order of arrival
  std::vector<int32_t> tokens;  // all that are known: the prompt and what was generated
  std::vector<int32_t> drafts;  // guesses of the tokens after those
  bool share_prefix = true;     // may use other sequences' pages and offer its own
  SequenceRope rope;
  // Leading tokens that share the capacity of experts, and so are computed in one piece. 0: none
  // do.
  int64_t whole_rows = 0;
  bool full_pass = false;       // routed with the capacity of a full pass, not of generation
  std::vector<int32_t> source;  // what the encoder reads; empty in a model without one
  bool paused = false;          // whoever takes its results is behind: not to be planned

  // The scheduler's.
  int64_t computed = 0;        // leading tokens whose keys and values are in the pages
  std::vector<int32_t> pages;  // none while it waits
  std::vector<BlockHash> chain;
  int64_t published = 0;              // leading pages offered to others
  int64_t cached_tokens = -1;         // tokens whose KV was there when it was first admitted
  bool in_flight = false;             // part of a micro-batch
  std::vector<int32_t> source_pages;  // keys and values of cross attention
  bool encoded = false;               // they hold them

  bool needs_encoder() const { return !source.empty() && !encoded; }
  int64_t pending() const { return static_cast<int64_t>(tokens.size()) - computed; }
};

}  // namespace switchyard::router
