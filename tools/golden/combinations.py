#!/usr/bin/env python3
"""Writes tests/adapter/golden/combinations.json: what PEFT's add_weighted_adapter makes of LoRA adapters, of every type.

tools/golden/combinations.py        needs the reference stack of tools/parity (torch 2.11, transformers 5, peft 0.21.2)

Element i of the k-th tensor in the order of the names, of adapter n, is 0.2 sin(1.7 k + 0.9 i + 0.3 n). For each case ten values of each module's B A are stored.
"""
import json
import sys
import tempfile
import warnings
from pathlib import Path

root = Path(__file__).resolve().parent.parent.parent
sys.path[0] = str(root / "tools/parity")  # in place of this folder, where a file is called like a package
import numpy as np  # noqa: E402
import torch  # noqa: E402
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict  # noqa: E402

from combinations import SEED, combined_by_peft  # noqa: E402
from common import tiny_model  # noqa: E402

BASES = {
    "llama": dict(vocab_size=31, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2),
    "gpt2": dict(vocab_size=31, n_embd=16, n_layer=2, n_head=4, n_positions=64),
}
ADAPTERS = {
    "llama": [dict(r=3, lora_alpha=5, target_modules=["q_proj", "down_proj"]), dict(r=3, use_rslora=True, target_modules=["q_proj", "v_proj"]), dict(r=3, target_modules=["q_proj", "down_proj"])],
    "gpt2": [dict(r=3, lora_alpha=5, target_modules=["c_attn", "c_fc"]), dict(r=3, target_modules=["wte", "c_attn"]), dict(r=3, target_modules=["wte", "c_fc"])],
}
WEIGHTS = [0.9, -0.6, 0.4]
CASES = [("linear", {}), ("cat", {}), ("svd", {}), ("svd", {"svd_rank": 2})]
for rule in ("magnitude_prune", "ties", "dare_linear", "dare_ties"):
    CASES += [(rule, {"density": 0.5}), (rule + "_svd", {"density": 0.2 if rule == "magnitude_prune" else 0.5})]
CASES.append(("ties", {"density": 0.2, "majority_sign_method": "frequency"}))


def fill(model, name, n):
    state = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    for k, key in enumerate(sorted(state)):
        i = np.arange(state[key].numel(), dtype=np.float64)
        state[key] = torch.from_numpy((0.2 * np.sin(1.7 * k + 0.9 * i + 0.3 * n)).astype(np.float32).reshape(state[key].shape))
    set_peft_model_state_dict(model, state, adapter_name=name)
    return {key: list(value.shape) for key, value in state.items()}


def values(tensors):
    result = {}
    for key, a in tensors.items():
        if "lora_A" in key or "embedding_A" in key:
            product = tensors[key.replace("lora_A", "lora_B").replace("embedding_A", "embedding_B")].double() @ a.double()
            result[key.removeprefix("base_model.model.").split(".lora_")[0]] = [round(float(x), 8) for x in product.flatten()[:: product.numel() // 10][:10]]
    return result


def main():
    golden = {"weights": WEIGHTS, "seed": SEED, "bases": {}}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for base, options in BASES.items():
            names, of_base = ["a0", "a1", "a2"], {"adapters": [], "cases": []}
            for kind, extra in CASES:
                configs = [LoraConfig(task_type="CAUSAL_LM", **one) for one in ADAPTERS[base]]
                model = get_peft_model(tiny_model(base, **options), configs[0], adapter_name="a0")
                for name, config in zip(names[1:], configs[1:]):
                    model.add_adapter(name, config)
                shapes = [fill(model, name, n) for n, name in enumerate(names)]
                of_base["cases"].append({"type": kind, "options": extra, "values": values(combined_by_peft(model, names, WEIGHTS, kind, extra))})
            model.save_pretrained(folder)
            for name, tensors in zip(names, shapes):
                of_base["adapters"].append({"config": json.loads((Path(folder) / name / "adapter_config.json").read_text()), "tensors": tensors})
                of_base["adapters"][-1]["config"]["target_modules"].sort()
            golden["bases"][base] = of_base
    (root / "tests/adapter/golden/combinations.json").write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
