// Positions: rotary frequencies and angles, and ALiBi's biases.
#pragma once
#include "model/config.h"
#include "model/pass.h"

namespace graft {

// Frequencies [dim / 2] float32 for a document of `length` positions; only "dynamic" and "longrope" look at the length.
Tensor rope_frequencies(const Rope& rope, const ModelConfig& config, int64_t length);

// cos and sin of every row, [rows, dim / 2] in `dtype`. lengths: positions of each document, its virtual rows and prefix
// included; each document is treated as if it ran alone.
Angles rope_angles(const Rope& rope, const ModelConfig& config, const Tensor& positions, const std::vector<int64_t>& starts,
                   const std::vector<int64_t>& lengths, at::ScalarType dtype);

// What ALiBi adds to scores, [heads, keys]; undefined without ALiBi.
Tensor alibi_bias(const ModelConfig& config, int64_t keys);

}  // namespace graft
