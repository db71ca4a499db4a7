// Which modules a method adapts: HF PEFT's rules for target_modules and its companions.
#pragma once
#include <set>
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
  Json layers_pattern;      // null, the name of the module list that holds the layers, or several
  void visit(Fields& f);
};

// A linear to adapt, or the token embedding: Site::Embed with a null `linear`.
struct Target {
  Site site;
  int64_t layer;
  Linear* linear;
};
const std::string& target_path(const Model& model, const Target& target);

struct TargetRules {
  Json modules_to_save;      // modules that are trained as a whole are no targets
  bool embeddings = false;   // whether the method can adapt the token embedding
};

// The modules to adapt, in model order. Names that match nothing, a match that is neither a linear nor an embedding, a broken
// expression, no match at all: Fault::Usage. A tied head that is a target gets a handle of the shared weight in `model`.
std::vector<Target> resolve_targets(Model& model, const TargetOptions& options, const std::vector<std::string>& defaults, const std::string& tag,
                                    const TargetRules& rules = {});

// A single name without a regular expression's signs as a list of one: as an expression it could match no path.
Json as_list_if_plain(const Json& selection);

// PEFT's matching of one module path: a string is a regular expression for the whole path; a list holds path endings.
bool matches_module(const Json& selection, const std::string& path);

// What a saved configuration says: the request itself, defaults and "all-linear" written out as names.
Json saved_selection(const std::vector<Target>& targets, const Json& requested, const std::vector<std::string>& defaults);

bool any_conv1d(const std::vector<Target>& targets);  // the file's fan_in_fan_out

// {regex: value} for module paths: PEFT's rank_pattern and alpha_pattern. A key fits a module when the path, or its part
// behind a dot, matches it as a whole.
class ModulePattern {
 public:
  ModulePattern(const Json& pattern, const char* name, const std::string& tag, bool integers);
  // The value of the key that fits, or the fallback. Keys with different values that fit one module: Fault::Usage.
  double value(const std::string& path, double fallback);
  void check_all_used() const;  // a key that fitted no module: Fault::Usage

 private:
  Json pattern_;
  std::string name_, tag_;
  std::vector<std::string> unused_;
};

// The layers that an option lists, as numbers. An entry that is no layer of the model: Fault::Usage.
std::set<int64_t> layer_numbers(const Json& list, const char* option, const Model& model, const std::string& tag);

// Paths of all modules that hold weights, and of the modules around them.
std::vector<std::string> module_paths(Model& model);

// "model.layers.0.mlp" → "mlp"
std::string last_part(const std::string& path);

inline const std::string kPeftPrefix = "base_model.model.";

}  // namespace graft
