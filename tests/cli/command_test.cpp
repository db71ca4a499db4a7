// The command as a person or a script meets it: exit codes, one clear line, nothing overwritten.
#include <sys/wait.h>

#include <cstdio>

#include "core/files.h"
#include "core/json.h"
#include "core/safetensors.h"
#include "core/torch.h"
#include "kernels/cpu.h"
#include "model/loader.h"
#include "support/conformance.h"
#include "support/support.h"

namespace graft {
namespace {

struct Outcome {
  int code;
  std::string out, err;
};

class Command : public ::testing::Test {
 protected:
  void SetUp() override {
    save_model(random_model(testing::tiny_config("llama"), 3), folder_ / "model", {}, at::kFloat);
    Json vocab = Json::object();
    for (char c = 'a'; c <= 'z'; ++c) vocab[std::string(1, c)] = 2 + c - 'a';
    for (const char* other : {"</s>", " ", ":", "\n", "L"}) vocab[other] = vocab.size() + 2;
    write_json(folder_ / "model/tokenizer.json", {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}}});
    write_json(folder_ / "model/tokenizer_config.json", {{"eos_token", "</s>"}});
    std::string rows;
    for (int i = 0; i < 24; ++i) rows += json_line({{"prompt", std::string(1, static_cast<char>('a' + i % 20)) + "b c"}, {"completion", std::string(3, static_cast<char>('a' + i % 7))}}) + "\n";
    for (const char* name : {"train", "dev", "test"}) write_file(folder_ / (std::string(name) + ".jsonl"), rows);
  }
  std::string path(const std::string& name) { return (folder_ / name).string(); }
  Outcome run(const std::string& arguments) {
    const std::string command = fmt::format("cd '{}' && '{}' {} >out.txt 2>err.txt </dev/null", folder_.path().string(), GRAFT_COMMAND, arguments);
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(folder_ / "out.txt"), read_file(folder_ / "err.txt")};
  }
  // One line on stderr that holds `text`, with this exit code.
  void refused(const std::string& arguments, int code, const std::string& text) {
    const Outcome o = run(arguments);
    EXPECT_EQ(o.code, code) << arguments << "\n" << o.err;
    EXPECT_NE(o.err.find(text), std::string::npos) << arguments << "\n" << o.err;
    EXPECT_LE(std::count(o.err.begin(), o.err.end(), '\n'), 12) << o.err;
  }
  testing::TempFolder folder_;
};

// What the machine can do is decided when the command starts; the variable makes every machine a small one.
TEST_F(Command, Bfloat16NeedsInstructionsForIt) {
  const std::string train = "train --model model --data train.jsonl --steps 2 --out run --dtype bfloat16 --device cpu";
  ::setenv("GRAFT_ISA", "avx2", 1);
  refused(train, 2, "without instructions for it on this CPU (");
  refused("eval --model model --data test.jsonl --metric loss --dtype bfloat16 --device cpu", 2, "use --dtype float32");
  EXPECT_FALSE(std::filesystem::exists(path("run")));
  ::setenv("GRAFT_ISA", "sse", 1);
  refused("train --model model --data train.jsonl --steps 2 --out run", 2, "GRAFT_ISA is 'sse'");
  ::setenv("GRAFT_ISA", "plain", 1);
  Outcome o = run("train --model model --data train.jsonl --steps 2 --out run");
  ::unsetenv("GRAFT_ISA");
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.err.find("float32 on plain vectors"), std::string::npos) << o.err;
  if (!kernels::cpu_multiplies_bf16()) return;
  o = run("train --model model --data train.jsonl --steps 2 --out half --dtype bfloat16 --device cpu");
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.err.find("bfloat16 on"), std::string::npos) << o.err;
}

TEST_F(Command, LabelSmoothingIsTheRecipes) {
  refused("train --model model --data train.jsonl --steps 1 --out run --label-smoothing 1.5", 2, "label_smoothing");
  const auto first_loss = [&](const std::string& arguments, const std::string& out) {
    const Outcome o = run("train --model model --data train.jsonl --steps 1 --out " + out + " " + arguments);
    EXPECT_EQ(o.code, 0) << o.err;
    const std::string metrics = read_file(folder_ / out / "metrics.jsonl");
    return Json::parse(metrics.substr(0, metrics.find('\n')))["loss"].get<double>();
  };
  const double plain = first_loss("", "plain"), all = first_loss("--label-smoothing 1", "all"), half = first_loss("--label-smoothing 0.5", "half");
  EXPECT_NEAR(half, (plain + all) / 2, 1e-5);
  EXPECT_GT(std::abs(plain - all), 1e-3);
}

TEST_F(Command, TokenizesRows) {
  write_file(folder_ / "rows.jsonl", "{\"text\": \"abc\"}\n\n{\"ids\": [2, 3]}\n{\"text\": \"a</s>\", \"special_tokens\": false}\n");
  const Outcome o = run("tokenize --model model --jsonl rows.jsonl");
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(o.out, "{\"ids\":[2,3,4]}\n{\"text\":\"a b\"}\n{\"ids\":[2,28]}\n");
  refused("tokenize --model model --jsonl missing.jsonl", 3, "cannot be read");
  refused("tokenize --model model --jsonl rows.jsonl --text a", 2, "exactly one of");
  for (const auto& [row, message] : {std::pair("{\"text\": 1}", "must be a string"), std::pair("{\"ids\": [999]}", "the id 999"), std::pair("{\"ids\": [1.5]}", "must be integers"),
                                     std::pair("{}", "either a \"text\" or \"ids\""), std::pair("{", "not valid JSON")}) {
    write_file(folder_ / "rows.jsonl", row);
    refused("tokenize --model model --jsonl rows.jsonl", 3, message);
  }
  write_json(folder_ / "model/tokenizer.json", {{"normalizer", {{"type", "Odd"}}}, {"model", {{"type", "BPE"}, {"vocab", Json::object()}, {"merges", Json::array()}}}});
  refused("tokenize --model model --text a", 3, "normalizer type 'Odd'");
}

TEST_F(Command, TrainsEvaluatesMergesAndInspects) {
  Outcome o = run("train --model model --data train.jsonl --method lora -o r=2 --steps 6 --lr 0.01 --batch-size 4 --out adapter");
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_TRUE(std::filesystem::exists(folder_ / "adapter/adapter_model.safetensors"));
  EXPECT_EQ(read_json(folder_ / "adapter/adapter_config.json")["peft_type"], "LORA");
  const std::string before = read_file(folder_ / "adapter/metrics.jsonl");
  o = run("train --recipe adapter/recipe.yaml --resume");  // a finished run: nothing changes
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(read_file(folder_ / "adapter/metrics.jsonl"), before);
  o = run("eval --model model --adapter adapter --data test.jsonl --metric loss --items items.jsonl --json");
  ASSERT_EQ(o.code, 0) << o.err;
  const Json scored = parse_json(o.out, "stdout");
  EXPECT_EQ(scored["n"], 24);
  EXPECT_LT(scored["ci95"][0], scored["value"]);
  o = run("merge --model model --adapter adapter --out merged --json");
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_LT(parse_json(o.out, "stdout")["largest_logit_difference"].get<double>(), 1e-4);
  write_file(folder_ / "merged/notes.txt", "mine");  // what else lies in the folder stays
  EXPECT_EQ(run("merge --model model --adapter adapter --out merged").code, 0);
  EXPECT_EQ(read_file(folder_ / "merged/notes.txt"), "mine");
  refused("merge --model model --adapter adapter --out adapter", 2, "adapter's own folder");
  make_folder(folder_ / "mixed");
  write_file(folder_ / "mixed/model-00001-of-00002.safetensors", "");
  refused("merge --model model --adapter adapter --out mixed", 3, "other weights");
  refused("score --model model --ids -1", 3, "outside the vocabulary");
  refused("score --model model --data test.jsonl --max-length 100000", 2, "max_length");
  const Outcome unmerged = run("score --model model --adapter adapter --ids 3,4,5 --json"), folded = run("score --model merged --ids 3,4,5 --json");
  EXPECT_NEAR(parse_json(unmerged.out, "a")["loss"].get<double>(), parse_json(folded.out, "b")["loss"].get<double>(), 1e-5);
  o = run("inspect adapter --json");
  EXPECT_EQ(parse_json(o.out, "stdout")["method"], "lora");
  o = run("generate --model model --adapter adapter --prompt ab --max-new-tokens 5 --json");
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(parse_json(run("methods --json").out, "stdout").size(), methods().size());
}

TEST_F(Command, ConvertsShardsAndSaysWhoCanLoad) {
  ASSERT_EQ(run("train --model model --data train.jsonl --method dora -o r=2 -o target_modules=all-linear --steps 3 --lr 0.05 --batch-size 4 --out dora").code, 0);
  Outcome o = run("convert dora --model model --to lora --rank 3 --out lora --json");
  ASSERT_EQ(o.code, 0) << o.err;
  const Json report = parse_json(o.out, "stdout");
  EXPECT_EQ(report["modules"].size(), 14u);
  EXPECT_LT(report["relative_error"].get<double>(), 1);
  const Json inspected = parse_json(run("inspect lora --json").out, "stdout");
  EXPECT_EQ(inspected["loads_in"], (Json{"graft", "HF PEFT", "llama.cpp (after graft convert --to gguf)", "vLLM"}));
  EXPECT_EQ(parse_json(run("inspect dora --json").out, "stdout")["not_in"]["vLLM"], "use_dora");
  ASSERT_EQ(run("train --model model --data train.jsonl --method bdlora -o r=2 --steps 1 --lr 0.05 --batch-size 4 --out blocks").code, 0);
  EXPECT_EQ(parse_json(run("inspect blocks --json").out, "stdout")["not_in"]["vLLM"], "use_bdlora");
  EXPECT_EQ(run("train --model model --data train.jsonl --method cpt -o cpt_token_ids=5,6 --steps 1 --batch-size 4 --out prompt").code, 0);
  ASSERT_EQ(run("convert lora --model model --to gguf --out lora.gguf").code, 0);
  EXPECT_EQ(read_file(folder_ / "lora.gguf").substr(0, 4), "GGUF");
  ASSERT_EQ(run("merge --model model --adapter lora --out merged --max-shard-size 4KB").code, 0);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "merged/model.safetensors.index.json"));
  refused("convert dora --model model --to lora --out x", 2, "--rank");
  refused("convert lora --model model --to adapterhub --out x", 2, "no exact counterpart");
  refused("convert lora --model model --to lora --out lora", 2, "itself");
  refused("merge --model model --adapter lora --out x --max-shard-size much", 2, "'much'");
  ASSERT_EQ(run("train --model model --data train.jsonl --method adalora -o init_r=4 -o target_r=2 -o target_modules=all-linear --steps 8 --lr 0.05 --batch-size 4 --save-every 5 --out ada").code, 0);
  const Json config = read_json(folder_ / "ada/adapter_config.json");
  EXPECT_EQ(config["total_step"], 8);
  EXPECT_EQ(config["rank_pattern"].size(), 14u);
  EXPECT_EQ(run("merge --model model --adapter ada --out adamerged").code, 0);
}

TEST_F(Command, WrongUsageExitsWithTwo) {
  refused("families lama", 2, "did you mean 'llama'");
  refused("", 2, "usage");
  refused("trian", 2, "did you mean 'train'");
  refused("train --model model --data train.jsonl --out o --stesp 3", 2, "--stesp");
  refused("train --model model --data train.jsonl --out o --method lroa", 2, "did you mean 'lora'");
  refused("train --model model --data train.jsonl --out o -o rank=3", 2, "unknown option 'rank'");
  refused("train --model model --data train.jsonl --out o -o r=17", 2, "r must be in 1..min(in, out) = 16 but is 17");
  refused("train --model model --data train.jsonl --out o -o target_modules=q_porj", 2, "did you mean 'q_proj'");
  refused("train --model model --data train.jsonl --out o --steps 3 --epochs 1", 2, "contradict");
  refused("train --model model --data train.jsonl --out o --schedule wavy", 2, "constant, linear, cosine");
  refused("train --model model --data train.jsonl --out o --device cuda", 2, "cuda");
  refused("eval --model model --data test.jsonl --metric blue", 2, "did you mean 'bleu'");
  write_file(folder_ / "recipe.yaml", "model: model\nlearning_rte: 3\n");
  refused("train --recipe recipe.yaml --out o", 2, "did you mean 'learning_rate'");
  write_file(folder_ / "plan.yaml", "model: model\ndata: {train: train.jsonl, dev: dev.jsonl, test: test.jsonl}\nmethods: [lora]\nseedz: 3\n");
  refused("compare plan.yaml --out c", 2, "did you mean 'seeds'");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "o"));
}

TEST_F(Command, UnusableInputExitsWithThreeAndOverwritesNothing) {
  refused("train --model nowhere --data train.jsonl --out o", 3, "nowhere");
  refused("train --model model --data nowhere.jsonl --out o", 3, "nowhere.jsonl");
  write_file(folder_ / "bad.jsonl", "{\"text\": \n");
  refused("train --model model --data bad.jsonl --out o", 3, "bad.jsonl line 1");
  write_file(folder_ / "blocked", "precious");
  refused("train --model model --data train.jsonl --steps 1 --out blocked", 3, "blocked");
  EXPECT_EQ(read_file(folder_ / "blocked"), "precious");
  const std::string weights = read_file(folder_ / "model/model.safetensors");
  write_file(folder_ / "model/model.safetensors", weights.substr(0, weights.size() - 100));
  refused("score --model model --ids 1,2", 3, "model.safetensors");
  write_file(folder_ / "model/model.safetensors", weights);
  ASSERT_EQ(run("train --model model --data train.jsonl --method prompt_tuning -o num_virtual_tokens=2 --steps 1 --out prompt").code, 0);
  refused("merge --model model --adapter prompt --out m", 2, "cannot be folded");
  Json config = read_json(folder_ / "prompt/adapter_config.json");
  config["new_trick"] = 3;
  write_json(folder_ / "prompt/adapter_config.json", config);
  refused("score --model model --adapter prompt --ids 1,2", 2, "'new_trick'");
  config.erase("new_trick");
  config["peft_type"] = "MAGIC";
  write_json(folder_ / "prompt/adapter_config.json", config);
  refused("score --model model --adapter prompt --ids 1,2", 2, "'MAGIC'");
}

TEST_F(Command, SeveralAdaptersRunMergeAndBecomeOne) {
  for (const auto& [name, options] : {std::pair("a", "lora -o r=2"), std::pair("b", "lora -o r=3 -o lora_alpha=5"), std::pair("h", "houlsby -o reduction_factor=4"), std::pair("p", "prefix_tuning -o num_virtual_tokens=2")})
    ASSERT_EQ(run(fmt::format("train --model model --data train.jsonl --method {} --steps 3 --lr 0.02 --batch-size 4 --seed {} --out {}", options, static_cast<int>(*name), name)).code, 0);
  const auto loss = [&](const std::string& arguments) {
    const Outcome o = run("score --ids 3,4,5,9,7 --json " + arguments);
    EXPECT_EQ(o.code, 0) << o.err;
    return parse_json(o.out, "stdout")["loss"].get<double>();
  };
  const std::string both = "--adapter a --adapter b --weights -0.5,1.25 ", base = "--model model ";
  const double sum = loss(base + both), plain = loss(base);
  EXPECT_GT(std::abs(sum - plain), 1e-4);
  EXPECT_NEAR(loss(base + "--adapter a --adapter b --weights 0,1"), loss(base + "--adapter b"), 1e-6);
  EXPECT_NEAR(loss(base + "--adapter h --weights 0"), plain, 1e-6);
  EXPECT_EQ(loss(base + "--adapter a --weights 1"), loss(base + "--adapter a"));
  EXPECT_GT(std::abs(loss(base + "--adapter h --adapter h") - loss(base + "--adapter h --adapter h --compose stack")), 1e-6);
  EXPECT_GT(std::abs(loss(base + "--adapter p --adapter a") - loss(base + "--adapter p")), 1e-6);
  ASSERT_EQ(run("merge --model model --out folded " + both).code, 0);
  EXPECT_NEAR(loss("--model folded"), sum, 1e-5);
  Outcome o = run("merge --combination-type cat --out cat --json " + both);
  ASSERT_EQ(o.code, 0) << o.err;
  const Json made = parse_json(o.out, "stdout");
  EXPECT_EQ(made["r"], 5);
  EXPECT_EQ(made["combination_type"], "cat");
  EXPECT_LT(made["largest_relative_difference"], 1e-6);
  EXPECT_NEAR(loss(base + "--adapter cat"), sum, 1e-5);
  o = run("merge --combination-type ties_svd --density 0.5 --out ties " + both);
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.out.find("differs from the weighted sum"), std::string::npos) << o.out;
  loss(base + "--adapter ties");
  refused("score --ids 3,4 " + base + both + "--compose pile", 2, "'pile'");
  refused("score --ids 3,4 " + base + "--adapter a --weights 1,2", 2, "2 numbers for 1 adapters");
  refused("score --ids 3,4 " + base + "--weights 1", 2, "1 numbers for 0 adapters");
  refused("score --ids 3,4 " + base + "--adapter a --weights much", 2, "'much'");
  refused("score --ids 3,4 " + base + "--adapter a --adapter p --weights 1,0.5", 2, "'p' (Prefix tuning) has the weight 0.5");
  refused("merge --model model --adapter a --adapter h --out x", 2, "houlsby cannot be folded");
  refused("merge --adapter a --adapter h --out x", 2, "only LoRA adapters make one");
  refused("merge --adapter a --adapter b --combination-type ties --out x", 2, "needs --density");
  refused("merge --adapter a --adapter b --combination-type linear --out x", 2, "has the rank 2 in");
  refused("merge --adapter a --adapter b --compose stack --out x", 2, "--compose has no meaning without --model");
  refused("merge --model model --adapter a --density 0.5 --out x", 2, "--density has no meaning with --model");
  refused("merge --adapter a --out x", 2, "--model DIR folds it into its base");
  refused("merge --adapter a --adapter b --out b", 2, "adapter's own folder");
  refused("merge --out x", 2, "--adapter");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "x"));
}

TEST_F(Command, ADivergingRunExitsWithFour) {
  refused("train --model model --data train.jsonl --method full --steps 50 --optimizer sgd --lr 1e30 --clip 0 --out o", 4, "step");
}

TEST_F(Command, ComparesFromPlanToReportAndResumesForFree) {
  write_file(folder_ / "plan.yaml", "model: model\ndata: {train: train.jsonl, dev: dev.jsonl, test: test.jsonl}\nmetrics: [loss, exact_match]\n"
                                    "methods: [full, ia3, {lora: {r: 2}}, {full: {lr: [1.0e30], label: wild}}]\nbudget: {steps: 4}\n"
                                    "tuning: {trials: 2, rungs: [0.5, 1.0]}\nseeds: 2\ntrain: {batch_size: 4, clip: 0, optimizer: sgd}\ngeneration: {max_new_tokens: 4}\n");
  ASSERT_EQ(run("validate plan.yaml").code, 0);
  Outcome o = run("compare plan.yaml --out c -q");
  ASSERT_EQ(o.code, 0) << o.err;
  const Json results = read_json(folder_ / "c/results.json");
  EXPECT_EQ(results["methods"].size(), 4u);
  int diverged = 0, finals = 0;
  for (auto& r : results["runs"]) {
    diverged += r["status"] == "diverged";
    finals += r["stage"] == "final" && r["status"] == "done";
  }
  EXPECT_GE(diverged, 1);
  EXPECT_EQ(finals, 6);
  for (const char* file : {"report.html", "report.md", "results.csv", "plan.resolved.yaml"}) EXPECT_TRUE(std::filesystem::exists(folder_ / "c" / file)) << file;
  EXPECT_EQ(read_file(folder_ / "c/report.html").find("http://"), std::string::npos);
  std::map<std::string, std::filesystem::file_time_type> times;
  for (auto& entry : std::filesystem::recursive_directory_iterator(folder_ / "c/runs"))
    if (entry.path().filename() == "result.json") times[entry.path().string()] = entry.last_write_time();
  EXPECT_GE(times.size(), 12u);
  for (auto& entry : std::filesystem::recursive_directory_iterator(folder_ / "c/runs")) EXPECT_FALSE(entry.path().filename().string().starts_with("checkpoint")) << entry.path();
  ASSERT_EQ(run("compare plan.yaml --out c -q").code, 0);
  for (auto& [file, time] : times) EXPECT_EQ(std::filesystem::last_write_time(file), time) << file;
  // A rate that became worse behind the first rung went on from there all the same.
  for (auto& [file, time] : times) {
    Json result = read_json(file);
    if (result["stage"] == "search" && result["rung"] == 1.0 && !result["rungs"].empty()) result["dev"]["loss"] = 1e9;
    write_json(file, result);
    time = std::filesystem::last_write_time(file);
  }
  ASSERT_EQ(run("compare plan.yaml --out c -q").code, 0);
  for (auto& [file, time] : times)
    if (read_json(file)["stage"] == "search") EXPECT_EQ(std::filesystem::last_write_time(file), time) << file;
}

TEST_F(Command, MemoryOfAStepIsToldAndLimited) {
  const std::string train = "train --model model --data train.jsonl --method lora --steps 2 --out adapter";
  const Outcome told = run(train + " --dry-run");
  EXPECT_EQ(told.code, 0) << told.err;
  for (const char* part : {"program", "weights", "adapter", "optimizer", "activations", "all"}) EXPECT_NE(told.out.find(part), std::string::npos) << part;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "adapter"));
  const Outcome refused = run(train + " --max-memory 1MB");
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("max_memory"), std::string::npos) << refused.err;
  EXPECT_EQ(run(train + " --max-memory lots").code, 2);
  EXPECT_EQ(run(train).code, 0);
  EXPECT_EQ(run("train --model model --data train.jsonl --method lora --steps 2 --out frugal --low-memory").code, 0);
  const SafetensorsFile one(folder_ / "adapter/adapter_model.safetensors"), other(folder_ / "frugal/adapter_model.safetensors");
  for (auto& [name, info] : one.tensors()) EXPECT_LT((one.tensor(name) - other.tensor(name)).abs().max().item<double>(), 1e-6) << name;
}

}  // namespace
}  // namespace graft
