#!/usr/bin/env python3
"""Writes tests/methods/golden/low_rank.json: what PEFT draws from seeds for the frozen parts of low-rank methods, KaSA's two extra losses, and numbers
of NumPy's generator.

tools/golden/low_rank.py        needs the reference stack of tools/parity (torch 2.11, transformers 5, peft 0.21.2)

Of each tensor the first and the last eight entries are kept.
"""
import json
import sys
import warnings
from pathlib import Path

sys.path.pop(0)  # a script beside this one is called like a package
import numpy as np  # noqa: E402
import peft  # noqa: E402
import torch  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402

TINY = dict(vocab_size=61, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64)
MODELS = {
    "llama": dict(TINY, intermediate_size=24, num_key_value_heads=2),
    "opt": dict(TINY, ffn_dim=24, word_embed_proj_dim=12),
    "phi3": dict(TINY, intermediate_size=24, num_key_value_heads=2, pad_token_id=0),
    "gpt2": dict(vocab_size=61, n_embd=16, n_layer=2, n_head=4),
}
CASES = [
    ("llama", "vera", dict(r=5, projection_prng_key=3, target_modules=["q_proj", "v_proj", "down_proj"])),
    ("gpt2", "vera", dict(r=4, target_modules=["c_attn"])),
    ("llama", "randlora", dict(r=5, projection_prng_key=3, target_modules=["q_proj", "v_proj", "down_proj"])),
    ("llama", "randlora", dict(r=6, sparse=True)),
    ("gpt2", "randlora", dict(r=6, very_sparse=True, target_modules=["c_fc", "c_attn"])),
    ("llama", "tinylora", dict(r=3, u=4, projection_seed=9)),
    ("opt", "tinylora", dict(u=4)),
    ("opt", "unilora", dict(r=3, theta_d_length=37, save_indices=True, target_modules=["q_proj", "v_proj", "k_proj", "fc1"])),
    ("phi3", "unilora", dict(r=2, theta_d_length=100, proj_seed=5, save_indices=True, target_modules=["qkv_proj", "o_proj", "down_proj"])),
    ("gpt2", "unilora", dict(theta_d_length=3000, save_indices=True)),
]
FROZEN = (".vera_A", ".vera_B", ".tinylora_P", "unilora_indices_A", "unilora_indices_B", "unilora_scales_A", "unilora_scales_B")


def base(name):
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **MODELS[name]))


def ends(tensor):
    values = [round(value, 7) for value in tensor.flatten().tolist()]
    return values if len(values) <= 16 else values[:8] + values[-8:]


def is_frozen(name):
    return name.endswith(FROZEN) or name in ("base_model.randlora_A", "base_model.randlora_B")


def seeded():
    for family, method, options in CASES:
        config = peft.PEFT_TYPE_TO_CONFIG_MAPPING[method.upper()](task_type="CAUSAL_LM", **options)
        tensors = peft.get_peft_model_state_dict(peft.get_peft_model(base(family), config))
        yield {"family": family, "method": method, "options": options, "tensors": {name: ends(value) for name, value in tensors.items() if is_frozen(name)}}


def kasa():
    options = dict(r=3, kasa_config={"beta": 0.02, "gamma": 0.3}, target_modules=["q_proj", "down_proj"])
    model = peft.get_peft_model(base("llama"), peft.LoraConfig(task_type="CAUSAL_LM", **options))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name:
                value.copy_(((torch.arange(value.numel()) % 7 - 3) * 0.1).view(value.shape))
    loss = model.base_model._get_kasa_loss()
    loss.backward()
    gradients = {name.replace(".default", ""): ends(value.grad) for name, value in model.named_parameters() if "lora_" in name}
    return {"family": "llama", "options": options, "loss": loss.item(), "gradients": gradients}


def numpy_numbers():
    for seed, population, size in [(0, 10, 3), (42, 256, 200), (2**40 + 3, 20011, 9989), (7, 20011, 100)]:
        generator = np.random.default_rng(seed)
        chosen = generator.choice(population, size=size, replace=False)
        shuffled = np.arange(1000)
        generator.shuffle(shuffled)
        yield {"seed": seed, "population": population, "size": size, "chosen": [int(i) for i in [*chosen[:8], *chosen[-8:]]], "shuffled": shuffled[:16].tolist()}


if __name__ == "__main__":
    out = Path(__file__).resolve().parent.parent.parent / "tests/methods/golden/low_rank.json"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        golden = {"models": {name: dict(options, model_type=name) for name, options in MODELS.items()}, "seeded": list(seeded()), "kasa": kasa(), "numpy": list(numpy_numbers())}
    out.write_text(json.dumps(golden, indent=1) + "\n")
    print(len(golden["seeded"]), "cases")
