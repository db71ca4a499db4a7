// What PEFT's methods train or store beside their own factors: whole modules, biases, single token rows, copies of the
// embedding. The functions append to a method's parameters and kept tensors.
#pragma once
#include "methods/common/targets.h"
#include "methods/method.h"

namespace graft {

struct CompanionLists {
  std::vector<Param>& params;
  std::vector<Param>& kept;
};

// What files hold are lists; a command line gives one name or id, or ids as text.
Json as_name_list(const Json& names);
Json as_index_list(const Json& indices);

// modules_to_save: every module whose path ends with an entry (as plain text, without a dot before it) is trained as a whole,
// in a copy. A tied head or embedding that is named alone is untied in `model`; with `tie` both stay one trained tensor.
// `adapted`: paths of modules that carry the method's own factors and must not be among them.
void train_saved_modules(Model& model, const Json& modules, bool tie, const std::string& prefix,
                         const std::vector<std::string>& adapted, const std::string& tag, CompanionLists lists);
std::vector<std::string> target_paths(const Model& model, const std::vector<Target>& targets);
// The list for the file: null, or the request, plus the head's name where the file holds it as a tied copy.
Json saved_modules_for_file(const Model& model, const Json& modules, bool tie);

// bias = "all" trains every bias of the base, "<method>_only" those of the targets.
void train_biases(Model& model, const std::string& bias, const std::vector<Target>& targets, CompanionLists lists);

// PEFT stores the whole embedding and head beside an adapter that targets them by the names embed_tokens or lm_head.
void keep_embeddings(Model& model, const std::vector<Target>& targets, const Json& saved_targets, CompanionLists lists);

// trainable_token_indices: rows of the token embedding (a list, or {module: list}) are replaced by trained ones. With a tied
// head its columns follow, unless the mapping gives it indices of its own. `suffix` of the rows' name behind the module's path.
void train_token_rows(AttachContext& context, const Json& indices, bool tie, const std::string& tag, CompanionLists lists,
                      const char* suffix = ".token_adapter.trainable_tokens_delta");

}  // namespace graft
