#include "kernels/twins.h"

namespace graft::kernels {
namespace {
thread_local int depth = 0;
}
ComposedOnly::ComposedOnly() { ++depth; }
ComposedOnly::~ComposedOnly() { --depth; }
bool composed_only() { return depth > 0; }
}  // namespace graft::kernels
