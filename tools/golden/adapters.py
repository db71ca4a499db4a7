#!/usr/bin/env python3
"""Writes tests/adapter/golden/peft_adapters.json and adalora.json: what PEFT and AdapterHub compute with adapters that they wrote.

tools/golden/adapters.py        needs the reference stack of tools/parity (torch 2.11, transformers 5, peft 0.21.2)

Weights follow a formula, so that only names, shapes, configurations and logits are stored: element i of the k-th tensor in the order of the names is
scale · sin(1.7 k + 0.9 i), plus 1 for gains; scale is 0.3, in adapters 0.2.
"""
import json
import sys
import tempfile
import warnings
from pathlib import Path

root = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(root / "tools/parity"))
import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

import adapters as parity  # noqa: E402
from common import load_reference, reference_logits  # noqa: E402

IDS = [3, 17, 5, 9, 4, 3, 22, 30, 11]
BASES = {
    "llama": dict(model_type="llama", vocab_size=31, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                  max_position_embeddings=64, attention_bias=True, tie_word_embeddings=False),
    "llama_tied": dict(model_type="llama", vocab_size=31, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                       max_position_embeddings=64, attention_bias=True, tie_word_embeddings=True),
    "gpt2": dict(model_type="gpt2", vocab_size=31, n_embd=16, n_layer=2, n_head=4, n_positions=64, tie_word_embeddings=True),
}


def formula(shape, k, scale, gain=False):
    i = np.arange(int(np.prod(shape)), dtype=np.float64)
    return torch.from_numpy((scale * np.sin(1.7 * k + 0.9 * i) + (1.0 if gain else 0.0)).astype(np.float32).reshape(shape))


def is_gain(name):
    return name.endswith("weight") and ("norm" in name or ".ln_" in name)


def make_base(name, folder):
    from transformers import AutoConfig, AutoModelForCausalLM

    options = dict(BASES[name])
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(options.pop("model_type"), **options))
    model.save_pretrained(folder)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    save_file({key: formula(tensors[key].shape, k, 0.3, is_gain(key)) for k, key in enumerate(sorted(tensors))}, file, metadata={"format": "pt"})


def fill_file(file):
    """The formula in every tensor of an adapter's file but the copies of base weights; returns names and shapes."""
    tensors = load_file(file)
    for key in [key for key in tensors if key.startswith("base_model.model.") and key.endswith((".randlora_A", ".randlora_B"))]:
        del tensors[key]  # copies of the shared bases under each layer
    for k, key in enumerate(sorted(tensors)):
        if ".base_layer.weight" not in key and not key.endswith(".zeros"):
            gain = key.endswith(("ia3_l", "lora_magnitude_vector", "ln_tuning_layers.weight", ".scaling")) or (is_gain(key) and ".lora_" not in key)
            tensors[key] = formula(tensors[key].shape, k, 0.2, gain)
    for key in list(tensors):  # a tied head's factors and a tied copy are the embedding's
        if key.endswith("lm_head.lora_A.weight") and any("lora_embedding_B" in k for k in tensors) and tied_factors(tensors):
            tensors[key] = tensors[next(k for k in tensors if k.endswith("lora_embedding_B"))].t().contiguous()
            tensors[key.replace("lora_A", "lora_B")] = tensors[next(k for k in tensors if k.endswith("lora_embedding_A"))].t().contiguous()
    save_file(tensors, file, metadata={"format": "pt"})
    return {key: list(value.shape) for key, value in sorted(tensors.items())}


TIED = [False]


def tied_factors(_):
    return TIED[0]


def peft_cases(folder):
    from peft import get_peft_model

    found = []
    for number, case in enumerate(parity.CASES):
        bases = [base for base in ("llama_tied", "gpt2") if base in case.bases] or list(case.bases)
        for base in bases[: 1 if case.row in ("prefix_tuning", "prompt_tuning", "p_tuning") else 2]:
            if case.options.get("ensure_weight_tying") and "modules_to_save" in case.options:
                continue
            TIED[0] = bool(case.options.get("ensure_weight_tying"))
            made = folder / f"case{number}{base}"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.manual_seed(0)
                config = parity.peft_config(case, base)
                get_peft_model(load_reference(folder / base), config).save_pretrained(str(made))
                if not all(value.is_floating_point() for value in load_file(made / "adapter_model.safetensors").values()):
                    continue  # numbers of vectors or positions follow no formula
                shapes = fill_file(made / "adapter_model.safetensors")
                logits, _ = parity.peft_logits(folder / base, made, IDS)
            config = {key: value for key, value in json.loads((made / "adapter_config.json").read_text()).items() if value not in (None, False, {}, []) or key == "bias" or key in case.options}
            config.pop("base_model_name_or_path", None)
            found.append({"base": base, "label": f"{case.row}, {case.label}", "config": config, "tensors": shapes, "logits": rounded(logits)})
            print(found[-1]["label"], base, flush=True)
    return found


def rounded(logits):
    return [[round(float(x), 6) for x in row[:6]] for row in logits[[0, 4, 8]]]


def adapterhub_cases(folder):
    import conversions

    jobs = []
    for i, (config, options) in enumerate([("double_seq_bn", dict(reduction_factor=4)), ("seq_bn", dict(reduction_factor=4)), ("par_bn", {}), ("scaled_par_bn", {}),
                                           ("seq_bn", dict(reduction_factor={"0": 8, "default": 2}, scaling="channel"))]):
        for base in ("llama_tied", "gpt2"):
            name = f"hub{i}{base}"
            jobs.append({"base": str(folder / base), "config": config, "options": options, "name": "nm", "made": str(folder / name), "written": str(folder / name), "ids": IDS,
                         "logits": str(folder / (name + ".logits")), "label": f"{config} {options}", "of": base})
    conversions.work("make", jobs, folder)
    shapes = [fill_file(Path(job["made"]) / "adapter.safetensors") for job in jobs]
    conversions.work("load", jobs, folder)
    return [{"base": job["of"], "label": job["label"], "config": json.loads((Path(job["made"]) / "adapter_config.json").read_text()), "tensors": shape,
             "logits": rounded(conversions.theirs_logits(job))} for job, shape in zip(jobs, shapes)]


def adalora_steps():
    """E after each step of PEFT's allocator, with weights and gradients by the formula: gradient of step t is the formula with k + 10 t."""
    from peft import AdaLoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    options = dict(BASES["llama"])
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(options.pop("model_type"), **options))
    settings = dict(init_r=4, target_r=2, tinit=1, tfinal=2, deltaT=2, total_step=10, target_modules=["q_proj", "down_proj"])
    model = get_peft_model(model, AdaLoraConfig(task_type="CAUSAL_LM", **settings))
    params = {name.replace(".default", ""): p for name, p in model.named_parameters() if ".lora_" in name}
    order = sorted(params)
    with torch.no_grad():
        for k, name in enumerate(order):
            params[name].copy_(formula(params[name].shape, k, 0.5))
    steps = []
    for t in range(1, 11):
        for k, name in enumerate(order):
            params[name].grad = formula(params[name].shape, k + 10 * t, 0.1)
            with torch.no_grad():
                params[name].add_(params[name].grad, alpha=-0.5)
        model.base_model.update_and_allocate(t)
        steps.append({name: [round(float(x), 6) for x in params[name].flatten()] for name in order if name.endswith("lora_E")})
    return {"options": settings, "steps": steps, "rank_pattern": {k.replace(".default", ""): v for k, v in model.peft_config["default"].rank_pattern.items()}}


out = root / "tests/adapter/golden"
out.mkdir(parents=True, exist_ok=True)
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    for base in BASES:
        make_base(base, folder / base)
    cases = peft_cases(folder) + adapterhub_cases(folder)
lines = ",\n".join(json.dumps(case, sort_keys=True) for case in cases)
(out / "peft_adapters.json").write_text('{"ids": %s, "bases": %s, "cases": [\n%s\n]}\n' % (json.dumps(IDS), json.dumps(BASES), lines))
(out / "adalora.json").write_text(json.dumps(adalora_steps()) + "\n")
print(len(cases), "cases")
