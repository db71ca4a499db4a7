#include "train/recipe.h"

#include <ATen/Parallel.h>

#include "adapter/folder.h"
#include "core/check.h"
#include "core/files.h"
#include "core/log.h"
#include "core/mapped_file.h"
#include "core/progress.h"
#include "core/rng.h"
#include "core/system.h"
#include "core/torch.h"
#include "core/yaml.h"
#include "data/order.h"
#include "kernels/cpu.h"
#include "methods/common/calibration.h"
#include "model/decoder.h"
#include "model/loader.h"
#include "train/memory.h"

namespace graft {
namespace fs = std::filesystem;

void Recipe::visit(Fields& f) {
  f("model", model, "folder of the base model");
  f("data", data, "training data: a .jsonl, .json, .csv or .tsv file, or several");
  f("eval_data", eval_data, "held-out data for eval_every");
  f("method", method, "fine-tuning method (graft methods lists them)");
  f("method_options", method_options, "the method's options in HF PEFT's names");
  f("method_config", method_config, "an adapter_config.json that names method and options");
  f("init_adapter", init_adapter, "adapter folder to start from instead of a fresh initialisation");
  f("from_scratch", from_scratch, "start from random weights of the model's config.json (method full)");
  f("out", out, "output folder");
  f("steps", steps, "duration in optimizer steps", at_least(1));
  f("epochs", epochs, "duration in passes over the data (3 when no duration is given)", above(0));
  f("tokens", tokens, "duration in tokens", at_least(1));
  data_config.visit(f);
  optim.visit(f);
  f("seed", seed, "seed of initialisation, data order and dropout", at_least(0));
  f("eval_every", eval_every, "steps between evaluations; 0: never", at_least(0));
  f("save_every", save_every, "steps between checkpoints; 0: only when stopped", at_least(0));
  f("keep", keep, "checkpoints to keep", at_least(1));
  f("gradient_checkpointing", gradient_checkpointing, "recompute all blocks in the backward pass: least memory for activations, a third more time");
  f("max_memory", max_memory, "most memory that training may take, such as 8GiB: recomputes as much as that needs");
  f("low_memory", low_memory, "as little memory as possible: recomputes all blocks and lets go of each weight after its use");
  f("dtype", dtype, "compute type of the base: auto is bfloat16 on a GPU, float32 on a CPU; adapters are float32 always", one_of({"auto", "float32", "bfloat16"}));
  f("device", device, "auto, cpu, cuda or cuda:N");
  f("cuda_graphs", cuda_graphs, "record a step's kernels on a GPU and launch them as one: for small models, whose GPU waits for the CPU");
  f("threads", threads, "CPU threads; 0: all cores", at_least(0));
}

std::vector<std::string> file_list(const Json& value, const char* key) {
  if (value.is_string()) return {value.get<std::string>()};
  std::vector<std::string> files;
  if (value.is_array())
    for (auto& item : value)
      if (item.is_string()) files.push_back(item.get<std::string>());
  if (files.empty() || !value.is_array() || files.size() != value.size())
    usage_error("train", fmt::format("{} must be a file or a list of files but is {}", key, json_line(value)));
  return files;
}

at::ScalarType compute_dtype(const std::string& name, const at::Device& device) {
  if (name == "bfloat16" && device.is_cpu() && !kernels::cpu_multiplies_bf16())
    usage_error("dtype", fmt::format("bfloat16 would be computed without instructions for it on this CPU ({}), many times slower than float32", kernels::isa_title(kernels::cpu_isa())),
                "use --dtype float32; half-precision files are read as float32 then");
  return name == "bfloat16" || (name == "auto" && device.is_cuda()) ? at::kBFloat16 : at::kFloat;
}

void use_threads(int64_t threads) {
  kernels::cpu_isa();  // complains about GRAFT_ISA before any work
  at::set_num_threads(thread_count(threads));
}

namespace {

int64_t planned_steps(const Recipe& recipe, const DataOrder& order) {
  const int given = recipe.steps.has_value() + recipe.epochs.has_value() + recipe.tokens.has_value();
  if (given > 1) usage_error("train", "steps, epochs and tokens contradict one another", "give one of --steps, --epochs, --tokens");
  if (recipe.steps) return *recipe.steps;
  if (recipe.tokens) return order.steps_for_tokens(*recipe.tokens);
  return order.steps_for_epochs(recipe.epochs.value_or(3));
}

Model base_model(const Recipe& recipe, const MethodRow& row) {
  if (recipe.model.empty()) usage_error("train", "no model is given", "--model DIR names a Hugging Face model folder");
  const at::Device device = parse_device(recipe.device);
  if (recipe.cuda_graphs && (device.is_cpu() || !Recording::possible(device)))
    usage_error("train", fmt::format("cuda_graphs needs a GPU and a build with nvcc, but the device is {}", device.str()), "leave it off");
  const at::ScalarType dtype = compute_dtype(recipe.dtype, device);
  if (!recipe.from_scratch) return load_model(recipe.model, {dtype, recipe.device, /*keep_stored=*/true});
  if (row.format != Format::ModelFolder) usage_error("train", fmt::format("from_scratch needs a method that trains the whole model, not {}", row.name), "use --method full");
  read_model_config(recipe.model);
  return converted(random_model(read_json(fs::path(recipe.model) / "config.json"), mix_seed(static_cast<uint64_t>(recipe.seed), "weights")), dtype, device);
}

std::vector<Example> load_examples(const Json& files, const char* key, const Recipe& recipe, const Tokenizer& tokenizer, int64_t max_length) {
  const auto names = file_list(files, key);
  TokenizedData data = tokenize_rows(read_rows(names, recipe.data_config, labels_beside(names)), tokenizer, recipe.data_config, max_length, recipe.model, false);
  if (data.cut) log_info("{}: {} rows were cut to {} tokens", key, data.cut, max_length);
  if (data.dropped) log_info("{}: {} rows have nothing to learn from within {} tokens and are left out", key, data.dropped, max_length);
  return std::move(data.examples);
}

// What was decided at run time about the machine.
std::string computes_with(const Model& model) {
  const std::string dtype = model.compute == at::kBFloat16 ? "bfloat16" : "float32";
  return model.device().is_cpu() ? fmt::format("{} on {}", dtype, kernels::isa_title(kernels::cpu_isa())) : fmt::format("{} on {}", dtype, model.device().str());
}

void write_recipe(Recipe& recipe, const fs::path& out) { write_file(out / "recipe.yaml", "# graft train --recipe recipe.yaml\n" + to_yaml(to_json(recipe))); }

}  // namespace

namespace {

// Everything that a run works on, loaded and checked.
struct Prepared {
  Recipe recipe;
  Adapted adapted;
  std::vector<Example> examples, held_out;
  std::unique_ptr<DataOrder> order;
  int64_t steps = 0;
};

std::unique_ptr<Method> chosen_method(Recipe& recipe, const MethodRow*& row) {
  std::unique_ptr<Method> method;
  if (recipe.method_config) {
    method = method_from_config(*recipe.method_config, row);
    recipe.method = row->name;
  } else {
    row = &find_method(recipe.method);
    method = row->make();
  }
  from_json(method->config(), recipe.method_options, row->name);
  return method;
}

// Where a method looks at the data before its first step, `calibrates` says whether it is that first step's turn or only a check.
// On the heap: the order refers to the examples where they lie.
std::unique_ptr<Prepared> prepare(Recipe recipe, bool calibrates) {
  const MethodRow* row = nullptr;
  auto method = chosen_method(recipe, row);
  if (!recipe.optim.learning_rate) recipe.optim.learning_rate = row->learning_rate;
  use_threads(recipe.threads);
  Model base = base_model(recipe, *row);
  let_go_of_mapped_pages(recipe.low_memory);
  const Tokenizer tokenizer = Tokenizer::load(recipe.model);
  std::optional<AdapterFile> init;
  if (recipe.init_adapter) init = read_adapter(*recipe.init_adapter);
  if (init) base = base_for_adapter(base, *init);
  std::unique_ptr<Prepared> p(new Prepared{recipe, bare(base), {}, {}, nullptr, 0});
  int64_t room = base.config.max_positions;
  const auto seed = static_cast<uint64_t>(recipe.seed);
  const auto load_training_data = [&] {
    if (p->order) return;
    p->examples = load_examples(recipe.data, "data", recipe, tokenizer, recipe.data_config.max_length.value_or(room));
    p->order = std::make_unique<DataOrder>(p->examples, recipe.data_config, seed);
  };
  Calibration calibration;
  calibration.batches = [&](int64_t step) { return load_training_data(), p->order->batches(step); };
  calibration.id = [&] { return load_training_data(), fingerprint(base) + fingerprint(p->examples) + json_line(to_json(recipe.data_config)) + std::to_string(seed); };
  if (!recipe.out.empty()) calibration.folder = fs::path(recipe.out) / "calibration";
  calibration.shapes_only = !calibrates;
  p->adapted = attach(base, *row, std::move(method), seed, [&](const std::string& text) { return tokenizer.encode(text); }, false, &calibration);
  if (init) p->adapted.method->load_file_tensors(init->tensors, init->weights.string());
  room -= p->adapted.sites.input_row_count() + p->adapted.sites.kv_shift();
  const int64_t max_length = recipe.data_config.max_length.value_or(room);
  if (max_length > room) usage_error("train", fmt::format("max_length must be at most {} (the model's positions less the virtual tokens) but is {}", room, max_length));
  load_training_data();
  if (!recipe.eval_data.is_null()) p->held_out = load_examples(recipe.eval_data, "eval_data", recipe, tokenizer, max_length);
  p->steps = planned_steps(recipe, *p->order);
  warmup_steps(recipe.optim.warmup, p->steps);
  return p;
}

struct LargestStep {
  int64_t documents = 0, tokens = 0, supervised = 0;  // of the micro-batch with the most tokens, virtual ones included, shared ones counted once
};

LargestStep largest_step(Prepared& p) {
  const Sharing sharing = training_sharing(p.adapted);
  LargestStep largest;
  for (int64_t step = 0; step < std::min<int64_t>(p.steps, 20'000); ++step)
    for (auto& batch : p.order->batches(step)) {
      const int64_t tokens = share_beginnings(batch, sharing).rows(p.adapted.sites.input_row_count());
      if (tokens > largest.tokens) largest = {batch.documents(), tokens, batch.supervised()};
    }
  return largest;
}

bool accumulates(const Recipe& recipe) { return recipe.data_config.grad_accum > 1 || !recipe.data_config.packing; }

// What to compute again, from what the user said about memory.
RecomputeRule recompute_rule(Prepared& p) {
  const Recipe& recipe = p.recipe;
  if (recipe.gradient_checkpointing || recipe.low_memory) return [](const Batch&) { return Recomputed{0, Recomputed::kAll}; };
  if (!recipe.max_memory) return usual_recomputation(p.adapted);
  const int64_t limit = bytes_from_text(*recipe.max_memory, "max_memory");
  const MemoryModel model(p.adapted, recipe.optim.optimizer, accumulates(recipe));
  const LargestStep largest = largest_step(p);
  if (!model.fitting(largest.tokens, largest.supervised, limit)) {
    const Recomputed most{0, Recomputed::kAll};
    int64_t fits = 0;
    for (int64_t tokens = largest.tokens; tokens > 0 && !fits; tokens = tokens * 9 / 10)
      if (model.of(tokens, largest.supervised * tokens / largest.tokens, most).total() <= limit) fits = tokens;
    const std::string needed = human_bytes(static_cast<double>(model.of(largest.tokens, largest.supervised, most).total()));
    usage_error("memory", fmt::format("a step with {} tokens ({} rows) needs {} at least, but max_memory is {}", largest.tokens, largest.documents, needed, *recipe.max_memory),
                fits > 0 ? fmt::format("about {} tokens fit: a smaller --batch-size with more --grad-accum, or a shorter --max-length", fits) : "not even one token fits: give more memory");
  }
  return [model, limit, &p](const Batch& batch) {
    return model.fitting(batch.rows(p.adapted.sites.input_row_count()), batch.supervised(), limit).value_or(Recomputed{0, Recomputed::kAll});
  };
}

double held_out_loss(const Adapted& adapted, const std::vector<Example>& held_out) {
  const Sharing sharing = sharing_of(adapted.model, adapted.sites);
  double sum = 0;
  int64_t count = 0;
  for (size_t i = 0; i < held_out.size(); i += 16) {
    std::vector<const Example*> rows;
    for (size_t j = i; j < std::min(held_out.size(), i + 16); ++j) rows.push_back(&held_out[j]);
    const Batch batch = share_beginnings(pack(rows), sharing);
    at::NoGradGuard no_grad;
    sum += token_losses(adapted.model, adapted.sites, batch).sum().item<double>();
    count += batch.supervised();
  }
  return sum / static_cast<double>(count);
}

}  // namespace

void check_recipe(const Recipe& recipe) { prepare(recipe, /*calibrates=*/false); }

std::string memory_table(const Recipe& given) {
  const std::unique_ptr<Prepared> p = prepare(given, /*calibrates=*/false);
  const LargestStep largest = largest_step(*p);
  const RecomputeRule rule = recompute_rule(*p);
  const MemoryModel model(p->adapted, p->recipe.optim.optimizer, accumulates(p->recipe));
  Batch stand_in;  // of the largest step's size
  stand_in.ids.resize(static_cast<size_t>(largest.tokens));
  stand_in.starts = {0, largest.tokens};
  stand_in.predict.resize(static_cast<size_t>(largest.supervised));
  Recomputed recomputed = rule(stand_in);
  recomputed.blocks = std::min(recomputed.blocks, model.layers());
  recomputed.mlps = std::clamp(recomputed.mlps, recomputed.blocks, model.layers());
  const StepMemory m = model.of(largest.tokens, largest.supervised, recomputed);
  const auto line = [](const char* name, int64_t bytes, const std::string& note = "") { return fmt::format("  {:<12} {:>8.1f} MiB{}\n", name, static_cast<double>(bytes) / (1 << 20), note); };
  return fmt::format("memory at the peak of the largest step ({} rows, {} tokens, {} supervised):\n", largest.documents, largest.tokens, largest.supervised) + line("program", m.program) +
         line("weights", m.weights) + line("adapter", m.adapters) + line("gradients", m.gradients, "  beyond what activations leave") + line("optimizer", m.optimizer) +
         line("activations", m.activations, fmt::format("  {} of {} blocks and {} further MLPs are computed again", recomputed.blocks, model.layers(), recomputed.mlps - recomputed.blocks)) +
         line("work", m.work, "  logits, or a block's backward pass") + line("all", m.total());
}

TrainResult run_recipe(Recipe given, bool resume) {
  if (given.out.empty()) usage_error("train", "no output folder is given", "--out DIR");
  const std::unique_ptr<Prepared> prepared = prepare(std::move(given), /*calibrates=*/true);
  Prepared& p = *prepared;
  Recipe& recipe = p.recipe;
  const fs::path out = recipe.out;
  make_folder(out);
  if (resume && fs::exists(out / "finished.json") && read_json(out / "finished.json").value("steps", int64_t{0}) == p.steps) {
    log_info("{}: the run of {} steps is finished already; nothing changes", recipe.out, p.steps);
    TrainResult done;
    done.steps = p.steps;
    return done;
  }
  TrainJob job;
  job.steps = p.steps;
  job.batches = [&](int64_t step) { return p.order->batches(step); };
  if (!p.held_out.empty()) job.evaluate = [&] { return held_out_loss(p.adapted, p.held_out); };
  job.out = out;
  job.base_folder = recipe.model;
  job.eval_every = recipe.eval_every;
  job.save_every = recipe.save_every;
  job.keep = recipe.keep;
  job.resume = resume;
  Trainer trainer(p.adapted, recipe.optim, job.steps, static_cast<uint64_t>(recipe.seed), recompute_rule(p), recipe.cuda_graphs);
  log_info("{} on {}: {} of {} parameters are trained, {} rows, {} steps, learning rate {:g}, {} threads, {}", p.adapted.row->title, recipe.model,
           human_count(static_cast<double>(trainable_parameters(*p.adapted.method))), human_count(static_cast<double>(parameter_count(p.adapted.model))), p.examples.size(),
           job.steps, *recipe.optim.learning_rate, at::get_num_threads(), computes_with(p.adapted.model));
  write_recipe(recipe, out);
  std::error_code ignored;
  fs::remove(out / "finished.json", ignored);
  const TrainResult result = run_training(p.adapted, trainer, job);
  save_adapter(p.adapted, out, recipe.model);
  write_json(out / "finished.json", {{"steps", result.steps}, {"loss", result.last_loss}, {"seconds", result.seconds}});
  log_info("{} steps in {}, last loss {:.4f}, written to {}", result.steps, human_duration(result.seconds), result.last_loss, recipe.out);
  return result;
}

}  // namespace graft
