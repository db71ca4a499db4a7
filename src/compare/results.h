// From the run folders of a comparison to one document, results.json, which holds every number that a report shows.
//
// What is read, below the comparison's folder OUT. Keys marked ? may be absent or null.
//
// OUT/comparison.json, what the comparison is:
//   title?, started?, finished?      text
//   seconds?                         wall time of the whole comparison
//   model      {path, family?, parameters?, vocab_size?}      parameters: of the base, all of them
//   data       {train, train_rows?, dev_rows?, test_rows?, ...}
//   metrics    ["bleu", "loss"]      the first one is the primary metric: it ranks and recommends
//   metric_info {name: {higher_is_better, unit?, kind}}
//                kind "mean":   the run's value is the mean of its items' scores
//                kind "binary": the same with scores 0 or 1; shown in per cent
//                kind "corpus": the value comes from the sums of the items' `stats`. Known, with their stats:
//                  bleu                10 numbers, BleuStats::numbers()
//                  loss, perplexity    2: sum of the token losses, number of tokens
//                  macro_f1            3 per label: true positives, false positives, false negatives
//   base?      {metric: value}       the untuned base on the same test items
//   budget?    {tokens|steps|epochs|seconds|flops: n}
//   tuning?    {trials, rungs, metric?}   metric: the dev score that picks the learning rate; default: the primary metric
//   seeds?     number of final runs per method
//   track?     as_configured | matched_parameters | matched_time
//   forgetting? {text, base_loss}
//   machine?   {cpu, cores, isa, threads, memory_gb, graft_version, torch_version, ...}: shown as it is
//   methods    [{name, label?, options?, default_lr?, grid?}]  label: unique, = the folder below runs/; default: name
//   runs?      [{folder, label, stage, seed?, lr?}]  the runs of the present plan, folder as in "runs/lora/final-0": other
//   folders
//              are left out, absent ones are reported as missing. Without it, every OUT/runs/*/*/ counts.
//   command?   how to repeat it; notes? [text]
//
// OUT/runs/<label>/<trial>/result.json:
//   method, label, stage ("search" | "final"), seed, lr, hash?
//   status     done | failed | diverged | running | skipped;  reason? one line
//   rung?      share of the budget that a search run got (1 = all of it)
//   rungs?     [{rung, dev}]  the same run's earlier scores, where successive halving continued it
//   dev?, test? {metric: value}
//   costs?     {trainable_parameters, adapter_bytes, seconds_per_step, tokens_per_second, peak_memory, flops_per_token,
//               mergeable, inference_slowdown, train_seconds, steps, tokens}
//   forgetting_loss?
// metrics.jsonl beside it: the rows of `graft train`. items.jsonl of a final run: one row per test item and metric,
//   {id, metric, score, prediction?, reference?, prompt?, stats?}.
//
// A folder that cannot be read, or whose numbers are not finite, is a problem that the report lists; never an error.
//
// What comes out (results.json), in the shape {setup, metrics, methods, pairs, pareto, recommendation, runs, problems, samples,
// tuning_metric}:
//   setup      comparison.json without `runs`
//   metrics    [{name, unit, kind, higher_is_better, base, items, test, scale, digits, detectable}]
//              detectable {one_pair, all_pairs, pairs}: smallest true difference found with 80 % power (median over pairs), in
//              one test at 5 % and at the strictest step of Holm's correction; scale, digits: how a report shows values
//   methods    best first: [{name (the label), method, options, index (place in the plan), lr, default_lr,
//              metrics {metric: {mean, sd, ci95, rank, values [{seed, value}]}},
//              costs (typical values over the final runs), forgetting {mean, sd, base, increase, values}, final {planned, done,
//              lost}, tuning {trials, runs, seconds, tokens, grid, widened, at_edge, points [{lr, rung, score, status}]}, curve
//              {step, mean, seeds [{seed, loss}]}}]   training loss, averaged in at most 80 bins of steps sd: n-1, null for one
//              run; rank: 1 is best, methods of one rank cannot be told apart, 0 without a result
//   tuning_metric   as in metrics, without results
//   pairs      [{a, b, metric, test, difference (a-b), ci95, p, p_holm, detectable}]   p_holm: Holm over all pairs of the metric
//   pareto     {trainable_parameters | seconds_per_step | peak_memory: [names], all: [names]}
//   recommendation  see results_advice.h
//   runs       every run: what result.json said, `folder`, and `status` missing (not there yet) or broken besides those above
//   problems   [text]
//   samples    the first test items: [{id, prompt, reference, predictions [{name, prediction, score}]}]
#pragma once
#include <filesystem>

#include "core/json.h"

namespace graft {

// Fault::Input where OUT or its comparison.json cannot be read or names no metric.
Json collect_results(const std::filesystem::path& out);

}  // namespace graft
