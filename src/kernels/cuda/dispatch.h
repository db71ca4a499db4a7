// From run-time element types, alignment and widths to template arguments, for both launchers.
#pragma once
#include <initializer_list>

#include "kernels/cuda/kernels.h"

namespace graft::kernels::cuda {

inline bool aligned_to(const void* pointer, int64_t bytes) { return reinterpret_cast<uintptr_t>(pointer) % static_cast<uintptr_t>(bytes) == 0; }

// Whether rows of `count` elements can be read 16 bytes at a time.
template <class T>
bool packs(int64_t count, std::initializer_list<const void*> pointers) {
  if (count % static_cast<int64_t>(16 / sizeof(T)) != 0) return false;
  for (const void* p : pointers)
    if (p && !aligned_to(p, 16)) return false;
  return true;
}

// The weight is read in packs of as many elements as x, so a float weight beside half-precision rows needs 32 bytes.
template <class T, class W>
bool norm_packs(const NormCall& call) {
  return packs<T>(call.width, {call.x, call.dy, call.y, call.dx}) && aligned_to(call.weight, static_cast<int64_t>(16 / sizeof(T) * sizeof(W)));
}
template <class T>
bool rope_packs(const RopeCall& call) {
  return !call.interleaved && call.dim == 2 * call.half && packs<T>(call.half, {call.x, call.cos, call.sin, call.y});
}
template <class T>
bool gated_packs(const GatedCall& call) {
  return packs<T>(call.count, {call.gate, call.up, call.dy, call.y, call.dgate, call.dup});
}
template <class T>
bool loss_packs(const LossCall& call) {
  return packs<T>(call.vocab, {call.logits});
}

// f(element, weight element) with zeros of the types.
template <class Half, class BFloat16, class F>
const char* with_elements(Element element, Element weight, const F& f) {
  switch (element) {
    case Element::Half: return weight == Element::Half ? f(Half(0.0f), Half(0.0f)) : f(Half(0.0f), 0.0f);
    case Element::BFloat16: return weight == Element::BFloat16 ? f(BFloat16(0.0f), BFloat16(0.0f)) : f(BFloat16(0.0f), 0.0f);
    case Element::Float: break;
  }
  return f(0.0f, 0.0f);
}

}  // namespace graft::kernels::cuda
