// Regular expressions as Python's `re` reads them, for module names.
#pragma once
#include <string>

namespace graft {

// True if `pattern` matches the whole of `text`. A broken pattern throws Fault::Usage naming it and the position.
bool full_match(const std::string& pattern, const std::string& text);

}  // namespace graft
