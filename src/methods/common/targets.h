// Which modules a method adapts: HF PEFT's rules for target_modules and its companions.
#pragma once
#include <string>
#include <vector>

#include "core/config.h"
#include "model/model.h"

namespace graft {

// The four options that select modules, as fields of a method's configuration.
struct TargetOptions {
  Json target_modules;      // null: the family's default; "all-linear"; a regular expression; a list of path endings
  Json exclude_modules;     // null, a regular expression or a list
  Json layers_to_transform; // null, a layer number or a list of them
  Json layers_pattern;      // null or the name of the module list that holds the layers
  void visit(Fields& f);
};

struct Target {
  Site site;
  int64_t layer;
  Linear* linear;
};

// The linears to adapt, in model order. Names that match nothing, a broken expression, no match at all: Fault::Usage.
std::vector<Target> resolve_targets(Model& model, const TargetOptions& options, const std::vector<std::string>& defaults, const std::string& tag);

// PEFT's matching of one module path: a string is a regular expression for the whole path; a list holds path endings.
bool matches_module(const Json& selection, const std::string& path);

// What a saved configuration says: the request itself, defaults and "all-linear" written out as names.
Json saved_selection(const std::vector<Target>& targets, const Json& requested, const std::vector<std::string>& defaults);

inline const std::string kPeftPrefix = "base_model.model.";

}  // namespace graft
