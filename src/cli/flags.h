// Command-line flags from a configuration's fields: --learning-rate for learning_rate, with help, and --x/--no-x for switches.
#pragma once
#include <CLI/CLI.hpp>

#include <map>
#include <memory>

#include "core/config.h"

namespace graft {

// Registers a flag for every field; `skip` names fields without one, `aliases` adds further names (learning_rate → --lr).
// What the user gave is applied to a configuration with `apply`, after a recipe.
class Flags {
 public:
  Flags(CLI::App& app, Config& config, const std::map<std::string, std::string>& aliases = {}, const std::vector<std::string>& skip = {});
  void apply(Config& config, const std::string& tag) const;

 private:
  struct Given;
  std::shared_ptr<Given> given_;
};

}  // namespace graft
