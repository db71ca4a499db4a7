// Running a model: from a packed batch to hidden states, logits and losses.
#pragma once
#include "kernels/cross_entropy.h"
#include "model/family.h"

namespace graft {

// Lays out a batch for this model and what is attached to it: virtual rows in front of every document, positions, angles.
Pass lay_out(const Model& model, const Sites& sites, const Batch& batch);
// The same for another batch of the same sizes, into the tensors of `pass`: what was recorded with them reads the new values.
void lay_out_again(const Model& model, const Sites& sites, const Batch& batch, Pass& pass);

// Hidden states after the final norm (and the projection to the head's width where there is one), [rows, width], or those of pass.wanted. With pass.checkpoint, model and sites must outlive the backward pass.
Tensor hidden_states(const Model& model, const Sites& sites, const Pass& pass);

// Logits of some rows, [n, vocab].
Tensor logits(const Model& model, const Sites& sites, const Tensor& hidden);

// Sum of token losses over the batch's supervised tokens, a scalar with gradient.
Tensor loss_sum(const Model& model, const Sites& sites, const Batch& batch, const Recomputed& recomputed = {}, const kernels::LossOptions& options = {});
Tensor loss_sum(const Model& model, const Sites& sites, Pass pass, const kernels::LossOptions& options = {});

// −log p of every supervised token, [supervised] float64, without gradient.
Tensor token_losses(const Model& model, const Sites& sites, const Batch& batch);

// An empty cache for `sequences` sequences of up to `capacity` tokens (prefix and virtual rows are added to it).
KvCache make_cache(const Model& model, const Sites& sites, int64_t sequences, int64_t capacity);
// Logits [sequences, vocab] behind each document's last token; the cache grows by the batch. The first call takes whole
// prompts, later ones one token for each sequence. Run under no_grad.
Tensor next_logits(const Model& model, const Sites& sites, const Batch& batch, KvCache& cache);
// True when the next token changes how the tokens before it are rotated: with "longrope" a sequence has reached the length
// from which the long factors count. Run the whole sequences again then, as the reference does.
bool must_refill(const Model& model, const KvCache& cache);
// Keeps only these sequences.
void select_sequences(KvCache& cache, const std::vector<int64_t>& kept);

}  // namespace graft
