// One function for each command: declares its flags and what runs when it is called.
#pragma once
#include <CLI/CLI.hpp>

#include "core/json.h"

namespace graft {

void add_train(CLI::App& app);
void add_compare(CLI::App& app);
void add_report(CLI::App& app);
void add_eval(CLI::App& app);
void add_score(CLI::App& app);
void add_generate(CLI::App& app);
void add_chat(CLI::App& app);
void add_merge(CLI::App& app);
void add_convert(CLI::App& app);
void add_inspect(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_methods(CLI::App& app);
void add_families(CLI::App& app);
void add_validate(CLI::App& app);
void add_embedded(CLI::App& app);

// One JSON document on stdout.
void print_json(const Json& value);

}  // namespace graft
