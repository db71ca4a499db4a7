// The table of model families: what differs between them, as data.
#pragma once
#include <span>

#include "model/model.h"
#include "model/pass.h"

namespace graft {

// Modules that methods adapt when the user names none, as the reference's tables have them; where those have no entry, the
// same modules as for families of the same shape.
struct DefaultTargets {
  std::vector<std::string> low_rank;      // LoRA and nearly all weight methods
  std::vector<std::string> scaling;       // (IA)³
  std::vector<std::string> feed_forward;  // those of `scaling` whose input is scaled
  std::vector<std::string> norms;         // LN tuning
};

// Module paths of a model's parts, as the file has them. Empty: this family, or this config, has no such part; the block
// (model/block.cpp) then leaves it out.
struct Names {
  std::string tokens, positions, embed_norm, project_in, project_out;
  std::string layers;  // in front of a layer's number: "model.layers."
  std::string final_norm, head = "lm_head";
  std::string head_in_file;  // where the file calls the head otherwise; empty: as the module
  // Behind the layer's number and a dot. norm1 and norm2 stand before attention and MLP, the post norms behind them.
  std::string norm1, post_norm1, norm2, post_norm2;
  std::string q, k, v, qkv, q_norm, k_norm, o;
  std::string gate, up, gate_up, down;
};
// Names of the usual layout: model.layers.N.self_attn.q_proj and so on, separate projections, a gated MLP, two norms.
Names usual_names();

struct FamilyRow {
  const char* model_type;   // config.json's word
  const char* architecture; // "LlamaForCausalLM"
  const char* title;        // for people
  ModelConfig (*config)(const ConfigReader& reader);
  Names (*names)(const ModelConfig& config);
  DefaultTargets targets;
  // One block, x [tokens, width] → [tokens, width], through every site. nullptr: decoder_block (model/block.h), which is what
  // all families should use.
  Tensor (*block)(const Model& model, int64_t layer, const Tensor& x, const Sites& board, const Pass& pass) = nullptr;
  // llama.cpp's name of the architecture, where its weights are these up to an order of the rows of q and k that it wants for
  // its rotary embedding; nullptr: adapters cannot be written for it.
  const char* gguf_architecture = nullptr;
  bool gguf_permutes_qk = false;
  // Linears of a block in the order in which the reference's module registers them, where that is not q, k, v, o, gate, up, down:
  // what files number by position or draw from one stream of random numbers follows it.
  std::vector<Site> registered = {};
};

std::span<const FamilyRow> families();
const FamilyRow& find_family(const std::string& model_type);  // throws Fault::Input with the list

}  // namespace graft
