#pragma once

// Who a process is in the cluster: a lasting id and one incarnation per life.

#include <cstdint>
#include <string_view>

namespace switchyard::runtime {

// XXH3 of the member's name: the same after every restart; never 0, which means "nobody".
uint64_t MemberId(std::string_view name);

// A random number other than 0: one life of one process.
uint64_t NewIncarnation();

}  // namespace switchyard::runtime
