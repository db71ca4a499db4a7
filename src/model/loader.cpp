#include "model/loader.h"

#include <ATen/CPUGeneratorImpl.h>

#include <set>

#include "core/check.h"
#include "core/files.h"
#include "core/log.h"
#include "core/safetensors.h"
#include "core/torch.h"

namespace graft {
namespace fs = std::filesystem;
namespace {

std::string shape_text(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

Model shaped(const Json& config, const std::string& source) {
  const ConfigReader reader(config, source);
  if (!config.is_object() || !config.contains("model_type") || !config["model_type"].is_string())
    input_error("config", fmt::format("{} has no model_type", source), "is this a Hugging Face model folder?");
  Model model;
  model.family = &find_family(config["model_type"].get<std::string>());
  model.config = model.family->config(reader);
  reader.refuse_unread(model.family->model_type);
  model.config.raw = config;
  model.blocks.resize(static_cast<size_t>(model.config.layers));
  visit_weights(model, [](const std::string&, Tensor&, const std::vector<int64_t>&, bool) {});  // paths: which parts there are
  return model;
}

// Files of some programs leave the module prefix away or put one in front: "h.0..." for "transformer.h.0...".
std::string name_in_file(const TensorFolder& files, const std::string& name) {
  if (files.contains(name)) return name;
  if (const size_t dot = name.find('.'); dot != std::string::npos && files.contains(name.substr(dot + 1))) return name.substr(dot + 1);
  for (const char* prefix : {"base_model.", "model.", "_orig_mod."})
    if (files.contains(prefix + name)) return prefix + name;
  if (name == "embed_out.weight" && files.contains("lm_head.weight")) return "lm_head.weight";
  return {};
}

bool is_buffer(const std::string& name) {  // stored by older programs, recomputed or unused today
  for (const char* suffix : {"rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias"})
    if (name.ends_with(suffix)) return true;
  return false;
}

void fill(Model& model, const TensorFolder& files, const fs::path& folder, const LoadOptions& options) {
  const at::ScalarType dtype = options.dtype.value_or(at::kFloat);
  const at::Device device = parse_device(options.device);
  model.compute = dtype;
  std::set<std::string> used;
  visit_weights(model, [&](const std::string& name, Tensor& handle, const std::vector<int64_t>& shape, bool conv1d) {
    const std::string found = name_in_file(files, name);
    if (found.empty()) input_error("model", fmt::format("{}: the tensor '{}' is missing", folder.string(), name), suggest(name, files.names()));
    used.insert(found);
    const TensorInfo& info = files.info(found);
    if (info.shape != shape)
      input_error("model", fmt::format("{}: '{}' must have the shape {} but has {}", folder.string(), found, shape_text(shape), shape_text(info.shape)),
                  "config.json and the weights do not belong together");
    const Tensor stored = files.tensor(found);
    if (!stored.is_floating_point())
      input_error("model", fmt::format("{}: '{}' is stored as {}, but weights must be F32, F16 or BF16", folder.string(), found, info.dtype));
    const bool kept = options.keep_stored && shape.size() > 1 && c10::elementSize(stored.scalar_type()) < c10::elementSize(dtype);
    const Tensor wanted = stored.to(device, kept ? stored.scalar_type() : dtype);  // the view itself where nothing changes
    if (!wanted.is_same(stored)) files.release(found);
    handle = conv1d ? wanted.t() : wanted;
  });
  std::vector<std::string> unused;
  for (auto& name : files.names())
    if (!used.count(name) && !is_buffer(name) && !(model.config.tied_head && (name.ends_with("lm_head.weight") || name == "embed_out.weight"))) unused.push_back(name);
  if (!unused.empty())
    log_info("{}: {} tensors are not used by {} ({}{})", folder.string(), unused.size(), model.family->model_type, unused[0],
             unused.size() > 1 ? ", ..." : "");
}

}  // namespace

at::Device parse_device(const std::string& name) {
  if (name == "cpu") return at::kCPU;
  const bool cuda = at::hasCUDA();
  if (name == "auto") return cuda ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  if (name.rfind("cuda", 0) == 0) {
    if (!cuda)
      usage_error("device", fmt::format("'{}' was asked for but no CUDA device can be used", name),
                  at::globalContext().hasCUDART() ? "this build has CUDA: does nvidia-smi list a device, and is its driver new enough? Else use --device cpu"
                                                  : "use --device cpu, or a build with the CUDA libtorch: GRAFT_CUDA=1 ./dev build");
    if (name == "cuda") return at::Device(at::kCUDA, 0);
    if (name.size() > 5 && name.size() < 9 && name[4] == ':' && name.find_first_not_of("0123456789", 5) == std::string::npos) {
      const int index = std::stoi(name.substr(5)), devices = at::detail::getCUDAHooks().deviceCount();
      if (index >= devices) usage_error("device", fmt::format("there is no device '{}'", name), fmt::format("known: cuda:0..cuda:{}", devices - 1));
      return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
    }
  }
  usage_error("device", fmt::format("unknown device '{}'", name), "known: auto, cpu, cuda, cuda:N");
}

ModelConfig read_model_config(const fs::path& folder) {
  if (!fs::exists(folder / "config.json"))
    input_error("model", fmt::format("'{}' has no config.json", folder.string()), fs::exists(folder) ? "is this a Hugging Face model folder?" : "there is no such folder");
  return shaped(read_json(folder / "config.json"), (folder / "config.json").string()).config;
}

Model load_model(const fs::path& folder, const LoadOptions& options) {
  read_model_config(folder);  // its errors first
  Model model = shaped(read_json(folder / "config.json"), (folder / "config.json").string());
  fill(model, TensorFolder(folder), folder, options);
  return model;
}

Model random_model(const Json& config, uint64_t seed) {
  Model model = shaped(config, "config");
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const double std = config.value("initializer_range", config.value("init_std", 0.02));
  std::set<const Tensor*> gains;
  visit_norms(model, [&](Site, int64_t, Norm& norm) { gains.insert(&norm.weight); });
  visit_weights(model, [&](const std::string& name, Tensor& handle, const std::vector<int64_t>& shape, bool conv1d) {
    Tensor stored = at::empty(shape, at::kFloat);
    if (gains.count(&handle)) stored.fill_(model.config.norm == NormKind::RmsPlusOne ? 0.0 : 1.0);
    else if (name.ends_with(".bias")) stored.zero_();
    else stored.normal_(0, std, generator);
    handle = conv1d ? stored.t() : stored;
  });
  return model;
}

void save_model(const Model& source_model, const fs::path& folder, const fs::path& source, at::ScalarType dtype, int64_t shard_bytes) {
  make_folder(folder);
  Model model = source_model;
  NamedTensors tensors;
  visit_weights(model, [&](const std::string& name, Tensor& handle, const std::vector<int64_t>&, bool conv1d) {
    const Tensor stored = conv1d ? handle.t() : handle;
    tensors.emplace_back(name, stored.detach().to(at::kCPU, dtype));
  });
  std::vector<NamedTensors> shards(1);
  int64_t bytes = 0, total = 0;
  for (auto& entry : tensors) {
    const int64_t size = static_cast<int64_t>(entry.second.nbytes());
    if (bytes > 0 && bytes + size > shard_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().push_back(entry);
    bytes += size;
    total += size;
  }
  if (shards.size() == 1) {
    save_safetensors(folder / "model.safetensors", shards[0]);
  } else {
    Json map = Json::object();
    for (size_t i = 0; i < shards.size(); ++i) {
      const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
      save_safetensors(folder / name, shards[i]);
      for (auto& entry : shards[i]) map[entry.first] = name;
    }
    write_json(folder / "model.safetensors.index.json", {{"metadata", {{"total_size", total}}}, {"weight_map", map}});
  }
  if (!source.empty() && fs::is_directory(source) && !fs::equivalent(source, folder))
    for (auto& entry : fs::directory_iterator(source)) {
      const std::string name = entry.path().filename().string();
      const bool weights = name.ends_with(".safetensors") || name.ends_with(".index.json") || name.ends_with(".bin") || name.ends_with(".partial");
      if (entry.is_regular_file() && !weights && name != "config.json" && fs::file_size(entry) < (64 << 20)) write_file(folder / name, read_file(entry.path()));
    }
  Json config = model.config.raw;
  config.erase("dtype");
  config["torch_dtype"] = dtype == at::kBFloat16 ? "bfloat16" : dtype == at::kHalf ? "float16" : "float32";
  write_json(folder / "config.json", config);
}

}  // namespace graft
