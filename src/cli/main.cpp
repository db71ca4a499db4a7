// The engine behind the command: one file for each sub-command, errors caught once, here. src/launcher is what people start.
#include <cstdio>

#include "cli/commands.h"
#include "cli/pages.h"
#include "core/check.h"
#include "core/files.h"
#include "core/heap.h"
#include "core/log.h"
#include "core/signals.h"
#include "core/system.h"
#include "core/version.h"

namespace graft {

void print_json(const Json& value) { fmt::print("{}\n", json_line(value)); }

namespace {

CLI::App* find_command(CLI::App& app, const std::string& name) {
  for (CLI::App* sub : app.get_subcommands([](CLI::App*) { return true; }))
    if (sub->get_name() == name) return sub;
  return nullptr;
}

const std::string kVersionLine = fmt::format("graft {}\n", kVersion);

// Every flag and sub-command. `topic` is where `graft help` keeps its argument.
void declare(CLI::App& app, std::string& topic) {
  app.require_subcommand(1);
  app.fallthrough();
  app.set_version_flag("--version", kVersionLine);
  app.add_flag_callback("-q,--quiet", [] { set_log_level(LogLevel::Quiet); }, "no log, no progress");
  app.add_flag_callback("--verbose", [] { set_log_level(LogLevel::Debug); }, "a longer log");
  for (auto add : {add_train, add_compare, add_report, add_eval, add_score, add_generate, add_chat, add_merge, add_convert, add_inspect, add_tokenize, add_methods, add_families,
                   add_validate, add_embedded})
    add(app);
  CLI::App* help = app.add_subcommand("help", "shows what a command does");
  help->add_option("command", topic, "the command");
  help->callback([&] {
    const CLI::App* about = topic.empty() ? nullptr : find_command(app, topic);
    if (!about && !topic.empty()) usage_error("help", fmt::format("there is no command '{}'", topic), "graft help lists the commands");
    fmt::print("{}", help_page(app, about));
  });
}

int run(int argc, char** argv) {
  CLI::App app{"graft fine-tunes language models with parameter-efficient methods and finds out, fairly, which one wins on your data.", "graft"};
  std::string topic;
  declare(app, topic);
  // Used by the build alone: what the launcher answers by itself.
  if (argc == 3 && std::string_view(argv[1]) == "--write-pages") return write_file(argv[2], pages_source(app, kVersionLine)), 0;
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const auto chosen = app.get_subcommands();
    return fmt::print("{}", help_page(app, chosen.empty() ? nullptr : chosen[0])), 0;
  } catch (const CLI::CallForVersion&) {
    return fmt::print("{}", kVersionLine), 0;
  } catch (const CLI::ParseError& e) {
    if (argc == 1) {
      fmt::print("{}", help_page(app, nullptr));
      usage_error("usage", "no command was given", "graft help COMMAND says more about one");
    }
    std::vector<std::string> known;
    for (CLI::App* sub : app.get_subcommands([](CLI::App*) { return true; })) known.push_back(sub->get_name());
    if (argv[1][0] != '-' && !find_command(app, argv[1])) usage_error("usage", fmt::format("there is no command '{}'", argv[1]), suggest(argv[1], known));
    usage_error("usage", e.what(), "graft help COMMAND shows what is allowed");
  }
  return 0;
}

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  using namespace graft;
  ignore_broken_pipes();
  explain_bus_errors();
  keep_freed_memory();
  use_own_heap();
  try {
    const int code = run(argc, argv);
    if (std::fflush(stdout) != 0) {
      fmt::print(stderr, "graft: [output] the result could not be written\n");
      return static_cast<int>(Fault::Input);
    }
    return code;
  } catch (const Error& e) {
    fmt::print(stderr, "graft: {}\n", e.what());
    return static_cast<int>(e.fault());
  } catch (const Stopped& e) {
    fmt::print(stderr, "graft: stopped; what was done is saved, run the same command again (train: with --resume) to go on\n");
    return e.exit_code();
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "graft: [memory] not enough memory. Hint: a smaller batch, --gradient-checkpointing or shorter rows need less\n");
    return static_cast<int>(Fault::Internal);
  } catch (const std::exception& e) {
    const std::string text = e.what();
    fmt::print(stderr, "graft: [internal] {}\n", text.substr(0, text.find('\n')));
    return static_cast<int>(Fault::Internal);
  }
}
