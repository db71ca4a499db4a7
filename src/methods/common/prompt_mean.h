// Gates that see a whole prompt (arXiv 2110.07577): one number for each document.
#pragma once
#include "core/tensor.h"
#include "sites/edit.h"

namespace graft {

// values [rows, n] → [documents, n]: the mean over each document's prompt (sites/edit.h says what that is). While a text is generated it stays
// what it was behind the prompt; `owner` is the edit that asks.
Tensor prompt_mean(const Tensor& values, const Documents& documents, const void* owner);

}  // namespace graft
