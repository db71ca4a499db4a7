#include "cli/commands.h"
#include "compare/runner.h"
#include "core/check.h"
#include "core/signals.h"

namespace graft {

void add_compare(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("compare", "runs a plan (methods x learning rates x seeds), scores, tests, writes the report; a rerun does only what is missing");
  auto plan = std::make_shared<std::string>(), out = std::make_shared<std::string>(), jobs = std::make_shared<std::string>("1/1"), retry = std::make_shared<std::string>();
  auto options = std::make_shared<CompareOptions>();
  sub->add_option("plan", *plan, "the plan, a YAML file")->required();
  auto* out_option = sub->add_option("--out", *out, "folder of the comparison");
  sub->add_flag("--dry-run", options->dry_run, "print the table of runs with estimated time and memory");
  sub->add_option("--jobs", *jobs, "K/N: carry out the K-th of N shards, for job arrays");
  sub->add_option("--retry", *retry, "failed: run failed and diverged runs again");
  sub->add_option("--threads", options->threads, "CPU threads; 0: all cores");
  sub->callback([=] {
    install_signal_handlers();
    if (!retry->empty() && *retry != "failed") usage_error("compare", fmt::format("--retry takes 'failed' but got '{}'", *retry));
    options->retry_failed = !retry->empty();
    if (std::sscanf(jobs->c_str(), "%ld/%ld", &options->shard, &options->shards) != 2) usage_error("compare", fmt::format("--jobs takes K/N but got '{}'", *jobs), "such as --jobs 1/4");
    if (!options->dry_run && out_option->count() == 0) usage_error("compare", "no output folder is given", "--out DIR");
    run_comparison(*plan, *out, *options);
    if (!options->dry_run) fmt::print("{}/report.html\n", *out);
  });
}

}  // namespace graft
