// The decoder block and the norms that all families share: what differs between them is data in ModelConfig and Block.
#pragma once
#include "model/family.h"

namespace graft {

// x [tokens, width] → [tokens, width], through every site of `board`.
Tensor decoder_block(const Model& model, int64_t layer, const Tensor& x, const Sites& board, const Pass& pass);

// x itself where the norm does not exist.
Tensor normalised(const ModelConfig& config, const Norm& norm, const Tensor& x);

}  // namespace graft
