// What an adapter folder holds, and which other programs can load it.
#pragma once
#include <filesystem>

#include "core/json.h"

namespace graft {

// {"kind", "method", "base_model", "config", "parameters", "dtypes", "tensors": {name: shape}, "mergeable", "loads_in":
// [program], "not_in": {program: reason}, "problems": [..]}. Throws as read_adapter does.
Json describe_adapter(const std::filesystem::path& folder);

}  // namespace graft
