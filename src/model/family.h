// The table of model families: what differs between them, as data and one function for a block.
#pragma once
#include <span>

#include "model/model.h"
#include "model/pass.h"

namespace graft {

// Modules that methods adapt when the user names none, as the reference's tables have them. Empty: none known.
struct DefaultTargets {
  std::vector<std::string> low_rank;      // LoRA and nearly all weight methods
  std::vector<std::string> scaling;       // (IA)³
  std::vector<std::string> feed_forward;  // those of `scaling` whose input is scaled
  std::vector<std::string> norms;         // LN tuning
};

struct FamilyRow {
  const char* model_type;   // config.json's word
  const char* architecture; // "LlamaForCausalLM"
  const char* title;        // for people
  ModelConfig (*config)(const ConfigReader& reader);
  // Creates the blocks and names every tensor; the loader fills the handles.
  void (*weights)(Model& model, const WeightVisitor& visit);
  // One block: x [tokens, width] → [tokens, width], through every site of `sites`.
  Tensor (*block)(const Model& model, int64_t layer, const Tensor& x, const Sites& board, const Pass& pass);
  Tensor (*final_norm)(const Model& model, const Tensor& x);
  std::vector<Site> sites;  // declared sites, each visited once per layer (or once per pass) in a forward pass
  DefaultTargets targets;
};

std::span<const FamilyRow> families();
const FamilyRow& find_family(const std::string& model_type);  // throws Fault::Input with the list

}  // namespace graft
