#pragma once

namespace switchyard {

// Roles of different versions refuse one another at the handshake.
inline constexpr char kVersion[] = "0.1.0";

}  // namespace switchyard
