"""What stands beside the methods in adapters.py: AdapterHub's folders, plain LoRA by SVD, GGUF, sharded merges, folders with named adapters, bad files.
Each function returns rows of the table."""

import json
import shutil
import warnings
from pathlib import Path

from common import GraftError, Row, adapterhub_result, adapterhub_work, largest_difference, load_reference, read_json, reference_logits, some_ids, write_json

# --- AdapterHub -------------------------------------------------------------------------------------------------------
ADAPTERHUB = [  # (config, options)
    ("double_seq_bn", dict(reduction_factor=4)),
    ("double_seq_bn", dict(reduction_factor={"1": 8, "default": 2}, non_linearity="gelu", leave_out=[])),
    ("seq_bn", dict(reduction_factor=4)),
    ("seq_bn", dict(reduction_factor=16, leave_out=[0])),
    ("par_bn", dict()),
    ("par_bn", dict(scaling=0.5, reduction_factor=3)),
    ("scaled_par_bn", dict()),
    ("seq_bn", dict(reduction_factor=4, scaling="channel")),
    ("compacter", dict(reduction_factor=4)),
    ("compacter", dict(reduction_factor=2, phm_dim=2, phm_rank=3, leave_out=[1])),
    ("compacter++", dict(reduction_factor=4)),
    ("adapterplus", dict(reduction_factor=4)),
    ("loreft", dict(r=2)),
    ("loreft", dict(r=3, suffix_positions=4, layers=[1], non_linearity="relu")),
    ("loreft", dict(r=2, prefix_positions=0, suffix_positions=2)),
    ("loreft", dict(r=2, prefix_positions=12, suffix_positions=15)),  # some tokens are among the first and the last
    ("noreft", dict(r=2, prefix_positions=2, suffix_positions=2, tied_weights=True)),
    ("direft", dict(r=2, suffix_positions=1)),
    ("mam", dict(prefix=dict(prefix_length=5, bottleneck_size=24), adapter=dict())),
    ("mam", dict(prefix=dict(prefix_length=3, flat=True), adapter=dict(reduction_factor=4, scaling=2.0))),
    ("unipelt", dict(prefix=dict(prefix_length=5, bottleneck_size=24), adapter=dict(reduction_factor=4), lora=dict(r=3))),
    ("unipelt", dict(prefix=dict(prefix_length=4, flat=True, shared_gating=False), adapter=dict(reduction_factor=4), lora=dict(r=2, attn_matrices=["k", "v"]))),
]


def theirs_logits(job):
    from safetensors.torch import load_file

    return load_file(adapterhub_result(job))["logits"]


def adapterhub_rows(graft, bases, folder):
    place = folder / "adapterhub"
    place.mkdir()
    kinds = {"compacter": "compacter", "compacter++": "compacter", "loreft": "ReFT", "noreft": "ReFT", "direft": "ReFT", "mam": "MAM and UniPELT", "unipelt": "MAM and UniPELT"}
    rows = {kind: (Row(f"{kind}: read"), Row(f"{kind}: written")) for kind in ("bottleneck", "compacter", "ReFT", "MAM and UniPELT")}
    jobs = []
    for i, (config, options) in enumerate(ADAPTERHUB):
        for base in ("llama", "llama_tied", "gpt2"):
            name = f"name{i}_{base}"
            jobs.append({"base": str(bases[base]), "config": config, "options": options, "name": name, "made": str(place / name), "written": str(place / (name + "_written")),
                         "ids": some_ids(61, 20, seed=i), "out": str(place / (name + ".safetensors")), "label": f"{base}, {config} {options}"})
    adapterhub_work("make", jobs, place)
    ours = {}
    for job in jobs:
        read = rows[kinds.get(job["config"], "bottleneck")][0]
        try:
            ours[job["name"]] = graft.logits(job["base"], job["ids"], job["made"])
            read.difference(largest_difference(ours[job["name"]], theirs_logits(job)), job["label"])
            if largest_difference(ours[job["name"]], graft.logits(job["base"], job["ids"])) < 1e-3:
                raise AssertionError("the adapter changes nothing: the case proves nothing")
            graft("convert", job["made"], "--model", job["base"], "--to", "adapterhub", "--out", job["written"])
        except (GraftError, AssertionError) as error:
            read.check(False, f"{job['label']}: {error}")
    back = [dict(job, out=job["out"] + ".back") for job in jobs if job["name"] in ours]
    adapterhub_work("load", back, place)
    for job in back:
        written = rows[kinds.get(job["config"], "bottleneck")][1]
        try:
            written.difference(largest_difference(theirs_logits(job), ours[job["name"]]), job["label"])
        except AssertionError as error:
            written.check(False, f"{job['label']}: {error}")
    return [row.done() for pair in rows.values() for row in pair]


# --- Conversions ------------------------------------------------------------------------------------------------------
def make_peft(base_folder, out, seed, **options):
    """A random LoRA by PEFT; returns its model."""
    from peft import LoraConfig, get_peft_model

    from adapters import fill_randomly

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(load_reference(base_folder), LoraConfig(task_type="CAUSAL_LM", **options)).eval()
        fill_randomly(model, seed)
        model.save_pretrained(str(out))
    return model


def linear_updates(model):
    """{module path: ΔW [out, in] in float64} of a PEFT model, from what its own merge changes."""
    before = {name: value.clone() for name, value in model.base_model.model.state_dict().items() if name.endswith("base_layer.weight")}
    merged = model.merge_and_unload()
    updates = {}
    for name, old in before.items():
        path = name.removesuffix(".base_layer.weight")
        module = merged.get_submodule(path)
        delta = module.weight.detach().double() - old.double()
        updates[path] = delta.t() if type(module).__name__ == "Conv1D" else delta
    return updates


def lora_rows(graft, bases, folder):
    """DoRA as a plain LoRA: PEFT loads it, and its error is the best that the rank allows; a plain LoRA keeps its values."""
    import torch

    from adapters import peft_logits

    row, errors = Row("convert --to lora"), Row("convert --to lora: reported error", bound=1e-4)
    for base in ("llama", "gpt2"):
        for label, options in (("dora", dict(r=4, use_dora=True, target_modules="all-linear")), ("rslora", dict(r=4, use_rslora=True, target_modules="all-linear"))):
            made, out, low = folder / f"svd_{base}_{label}", folder / f"svd_{base}_{label}_full", folder / f"svd_{base}_{label}_low"
            model = make_peft(bases[base], made, 3, **options)
            ids = some_ids(61, 20, seed=4)
            reference = reference_logits(model, ids)
            report = json.loads(graft("convert", made, "--model", bases[base], "--to", "lora", "--rank", 96, "--out", out, "--json"))
            theirs, _ = peft_logits(bases[base], out, ids)
            row.difference(max(largest_difference(theirs, reference), largest_difference(graft.logits(bases[base], ids, out), reference)), f"{base}, {label}, whole rank")
            report = json.loads(graft("convert", made, "--model", bases[base], "--to", "lora", "--rank", 2, "--out", low, "--json"))
            theirs, _ = peft_logits(bases[base], low, ids)
            row.difference(largest_difference(graft.logits(bases[base], ids, low), theirs), f"{base}, {label}, rank 2")
            for path, delta in linear_updates(model).items():
                s = torch.linalg.svdvals(delta)
                errors.difference(abs((s[2:].norm() / s.norm()).item() - report["modules"][path]["relative_error"]), f"{base}, {label}, {path}")
    return [row.done(), errors.done()]


# Families whose rows of q and k llama.cpp's converter puts into another order; the others keep them.
PERMUTED = ("llama", "mistral", "granite", "smollm3")
GGUF_FAMILIES = {"mistral": "LLAMA", "qwen2": "QWEN2", "qwen3": "QWEN3", "gemma": "GEMMA", "gemma2": "GEMMA2", "gemma3_text": "GEMMA3", "phi3": "PHI3", "starcoder2": "STARCODER2",
                 "olmo2": "OLMO2", "granite": "GRANITE", "smollm3": "SMOLLM3", "cohere": "COMMAND_R", "stablelm": "STABLELM"}


def gguf_case(graft, row, base_folder, model_type, arch, place, label, options):
    """Read back with the gguf package: names and metadata, and α/r · B A equal to the update in llama.cpp's order of rows."""
    import torch
    from gguf import GGUFReader
    from gguf.constants import MODEL_ARCH, MODEL_ARCH_NAMES, GGUFType, Keys
    from gguf.tensor_mapping import get_tensor_name_map

    arch = getattr(MODEL_ARCH, arch)
    made, file = place, place.with_suffix(".gguf")
    model = make_peft(base_folder, made, 6, **options)
    config = model.config
    graft("convert", made, "--model", base_folder, "--to", "gguf", "--out", file)
    reader = GGUFReader(str(file))
    value = lambda key: reader.get_field(key).contents()  # noqa: E731
    row.check(value(Keys.General.ARCHITECTURE) == MODEL_ARCH_NAMES[arch], f"{model_type}: architecture")
    row.check(value(Keys.General.TYPE) == GGUFType.ADAPTER and value(Keys.Adapter.TYPE) == "lora", f"{model_type}: type")
    alpha = value(Keys.Adapter.LORA_ALPHA)
    tensors = {t.name: torch.from_numpy(t.data.copy()) for t in reader.tensors}
    names = get_tensor_name_map(arch, config.num_hidden_layers)
    updates = linear_updates(model)
    row.check(len(tensors) == 2 * len(updates), f"{model_type}: {len(tensors)} tensors for {len(updates)} updates")
    for path, delta in updates.items():
        name = str(names.get_name(path)) + ".weight"
        if name + ".lora_a" not in tensors:
            row.check(False, f"{model_type}: '{name}' of {path} is not in the file")
            continue
        a, b = tensors[name + ".lora_a"], tensors[name + ".lora_b"]
        if model_type in PERMUTED and path.endswith(("q_proj", "k_proj")):
            heads = config.num_attention_heads if path.endswith("q_proj") else config.num_key_value_heads
            delta = delta.reshape(heads, 2, delta.shape[0] // heads // 2, delta.shape[1]).swapaxes(1, 2).reshape(delta.shape)
        row.difference(largest_difference(alpha / a.shape[0] * b.double() @ a.double(), delta), f"{model_type}, {label}, {name}")


def gguf_rows(graft, bases, folder):
    from common import tiny_model

    row, families = Row("convert --to gguf", bound=1e-4), Row("convert --to gguf: families", bound=1e-4)
    for base, arch in (("llama", "LLAMA"), ("llama_tied", "LLAMA"), ("gpt2", "GPT2")):
        gpt2 = base == "gpt2"
        for label, options in (("plain", dict(r=4, lora_alpha=16, target_modules="all-linear")),
                               ("rslora with patterns", dict(r=4, use_rslora=True, rank_pattern={"c_fc" if gpt2 else "v_proj": 2},
                                                             alpha_pattern={"c_attn" if gpt2 else "k_proj": 3}, target_modules="all-linear"))):
            gguf_case(graft, row, bases[base], base.removesuffix("_tied"), arch, folder / f"gguf_{base}_{label[0]}", label, options)
    options = dict(vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
                   bos_token_id=1, eos_token_id=2, pad_token_id=0)
    for number, (model_type, arch) in enumerate(GGUF_FAMILIES.items()):
        base = folder / f"gguf_base_{model_type}"
        try:
            tiny_model(model_type, seed=number, **options).save_pretrained(base)
            gguf_case(graft, families, base, model_type, arch, folder / f"gguf_{model_type}", "plain", dict(r=2, target_modules="all-linear"))
        except Exception as error:  # noqa: BLE001: a family's failure is its result
            families.check(False, f"{model_type}: {type(error).__name__}: {error}")
    return [row.done(), families.done()]


def folder_rows(graft, bases, folder):
    """Sharded and half-precision merges, and folders with named adapters."""
    import torch
    from transformers import AutoModelForCausalLM

    row = Row("merge: shards and dtypes", bound=2e-4)
    ids = some_ids(61, 20, seed=8)
    for base in ("llama", "llama_tied", "gpt2"):
        made = folder / f"shards_{base}"
        reference = reference_logits(make_peft(bases[base], made, 5, target_modules="all-linear"), ids)
        out = folder / f"shards_{base}_merged"
        graft("merge", "--model", bases[base], "--adapter", made, "--out", out, "--max-shard-size", "20KB")
        row.check(len(list(out.glob("model-*.safetensors"))) > 2, f"{base}: shards")
        row.difference(largest_difference(reference_logits(load_reference(out), ids), reference), f"{base}, sharded")
        half = folder / f"half_{base}"
        graft("merge", "--model", bases[base], "--adapter", made, "--out", half, "--dtype", "bfloat16")
        loaded = AutoModelForCausalLM.from_pretrained(half, dtype="auto")
        row.check(loaded.dtype == torch.bfloat16, f"{base}: bfloat16")
        exact = load_reference(out).state_dict()
        row.check(all(torch.equal(value, exact[name].bfloat16()) for name, value in loaded.state_dict().items()), f"{base}: rounded once")
    named = Row("folders of named adapters")
    from peft import LoraConfig, get_peft_model

    from adapters import fill_randomly

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(load_reference(bases["llama"]), LoraConfig(task_type="CAUSAL_LM"), adapter_name="one").eval()
        fill_randomly(model, 1)
        reference = reference_logits(model, ids)
        model.save_pretrained(str(folder / "named"))
    named.difference(largest_difference(graft.logits(bases["llama"], ids, folder / "named"), reference), "one adapter in a sub-folder")
    shutil.copytree(folder / "named/one", folder / "named/two")
    try:
        graft.logits(bases["llama"], ids, folder / "named")
        named.check(False, "two adapters: nothing refused")
    except GraftError as error:
        named.check(error.code == 3 and "one, two" in error.text, f"two adapters: {error}")
    return [row.done(), named.done()]


def bad_file_rows(graft, bases, folder):
    """Every kind of bad file ends with exit code 2 or 3 and a line that names what is wrong."""
    from safetensors.torch import load_file, save_file

    row = Row("bad adapter files")
    base, made = bases["llama"], folder / "good"
    make_peft(base, made, 9, r=2)
    ids = [3, 4, 5]

    def refused(what, change, word):
        bad = folder / "bad"
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(made, bad)
        change(bad)
        try:
            graft.score(base, ids, bad)
            row.check(False, f"{what}: accepted")
        except GraftError as error:
            row.check(error.code in (2, 3) and word in error.text and error.text.count("\n") <= 3, f"{what}: {error}")

    def tensors(edit):
        def change(bad):
            values = load_file(bad / "adapter_model.safetensors")
            edit(values)
            save_file(values, bad / "adapter_model.safetensors")

        return change

    def config(**changes):
        def change(bad):
            values = read_json(bad / "adapter_config.json")
            values.update(changes)
            write_json(bad / "adapter_config.json", values)

        return change

    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    text = lambda old, new: lambda bad: (bad / "adapter_config.json").write_text((bad / "adapter_config.json").read_text().replace(old, new, 1))  # noqa: E731
    refused("missing tensor", tensors(lambda t: t.pop(key)), key)
    refused("extra tensor", tensors(lambda t: t.update({key.replace("layers.0", "layers.7"): t[key].clone()})), "layers.7")
    refused("misspelled tensor", tensors(lambda t: t.update({key.replace("q_proj", "q_porj"): t.pop(key)})), "q_p")
    refused("wrong shape", tensors(lambda t: t.update({key: t[key][:1].clone()})), "shape")
    refused("integers", tensors(lambda t: t.update({key: t[key].long()})), key)
    refused("cut file", lambda bad: (bad / "adapter_model.safetensors").write_bytes((bad / "adapter_model.safetensors").read_bytes()[:-7]), "safetensors")
    refused("no weights", lambda bad: (bad / "adapter_model.safetensors").unlink(), "adapter_model.safetensors")
    refused("a pickle", lambda bad: (bad / "adapter_model.safetensors").rename(bad / "adapter_model.bin"), "safetensors")
    refused("no config", lambda bad: (bad / "adapter_config.json").unlink(), "adapter_config.json")
    refused("broken JSON", text("{", "{{"), "adapter_config.json")
    refused("duplicate key", text('"r": 2', '"r": 2, "r": 3'), "r")
    refused("a list for a number", config(r=[2]), "r")
    refused("text for a number", config(lora_alpha="much"), "lora_alpha")
    refused("a number for a list", config(modules_to_save=3), "modules_to_save")
    refused("unknown peft_type", config(peft_type="MAGIC"), "MAGIC")
    refused("no peft_type", config(peft_type=None), "peft_type")
    refused("a newer version's field", config(peft_version="0.99.0", new_trick=3), "0.99.0): the field 'new_trick'")
    for field, value in (("layer_replication", [[0, 2], [1, 2]]), ("target_parameters", ["a.b"]), ("megatron_config", {"a": 1}), ("use_qalora", True),
                         ("arrow_config", {"top_k": 2}), ("loftq_config", {"loftq_bits": 4})):
        refused(field, config(**{field: value}), f"'{field}'")
    # Relatives of LoRA whose own tensors the file lacks.
    for field, value, tensor in (("kasa_config", {"beta": 1}, "lora_diag"), ("velora_config", {"num_groups": 2}, "lora_velora_embed"),
                                 ("monteclora_config", {"num_samples": 2}, "lora_monteclora_sampler")):
        refused(field, config(**{field: value}), tensor)
    for start in ("loftq", "corda", "lora_ga", "pissa_niter_4", "nonsense"):
        refused(f"init_lora_weights {start}", config(init_lora_weights=start), start)
    refused("a pattern without a match", config(rank_pattern={"q_porj": 2}), "q_porj")
    refused("overlapping patterns", config(alpha_pattern={"q_proj": 2, ".*q_proj": 3}), "q_proj")
    refused("a target without a match", config(target_modules=["q_proj", "v_proj", "x_proj"]), "x_proj")
    return [row.done()]


def rows(graft, bases, folder):
    found = []
    for part in (adapterhub_rows, lora_rows, gguf_rows, folder_rows, bad_file_rows):
        try:
            found += part(graft, bases, folder)
        except Exception as error:  # noqa: BLE001: the part's failure is its result
            row = Row(part.__name__.removesuffix("_rows"))
            row.check(False, f"{type(error).__name__}: {error}")
            found.append(row.done())
    return found
