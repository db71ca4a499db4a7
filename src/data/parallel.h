// Work on many rows by all threads.
#pragma once
#include <cstddef>
#include <functional>

namespace graft {

// Runs f(i) for every i, in no order. The exception of the lowest i is thrown on; a pending signal ends the work with Stopped.
// `progress`, when given, is called on the calling thread with the number of rows begun.
void parallel_rows(size_t count, const std::function<void(size_t)>& f, const std::function<void(size_t)>& progress = {});

}  // namespace graft
