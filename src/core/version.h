// Versions, as they stand in records and files.
#pragma once

namespace graft {
inline constexpr const char* kVersion = "0.1.0";
inline constexpr const char* kTorchVersion = "2.11.0";
}  // namespace graft
