// A switch for tests and for looking things up: run every operation as its composed twin.
#pragma once

namespace graft::kernels {

// While an object of this kind lives, this thread's operations use plain tensor operations only.
class ComposedOnly {
 public:
  ComposedOnly();
  ~ComposedOnly();
  ComposedOnly(const ComposedOnly&) = delete;
  ComposedOnly& operator=(const ComposedOnly&) = delete;
};
bool composed_only();

}  // namespace graft::kernels
