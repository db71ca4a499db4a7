// The pages that `graft` answers without the engine: help, version, tables.
#pragma once
#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace graft {

struct Page {
  std::vector<std::string> asked;  // argument lists with spaces between: "help train", "train --help"
  std::string text;
};

// The help of a sub-command, or of the command itself (null).
std::string help_page(const CLI::App& app, const CLI::App* sub);

// Of `graft methods` and `graft families`.
std::vector<Page> table_pages();

// All of them, for a command whose sub-commands are declared, as the source of one string: each page is 0x1E, a line end,
// its argument lists with a line end each, 0x1F and the text.
std::string pages_source(CLI::App& app, const std::string& version);

}  // namespace graft
