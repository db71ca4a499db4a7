#!/usr/bin/env python3
"""Writes tests/model/golden/families.json: log-probabilities by transformers for every family and every option of its config.

    pip install torch==2.11.0 transformers==5.24.0
    python tools/golden/families.py

The cases are those of tools/parity/family_cases.py. Weights are not stored: both sides compute them from a tensor's name and
an entry's index (see value() here and formula_weights() in tests/model/families_test.cpp).
"""

import json
import math
import pathlib
import sys

import numpy as np
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools/parity"))
from common import conv1d, logprobs, reference_logits, some_ids  # noqa: E402
from family_cases import FAMILIES  # noqa: E402

# transformers reads the key and does nothing with it; graft refuses it.
REFUSED = {"gemma3_text": ["attention_cap"]}
OUT = ROOT / "tests/model/golden/families.json"
MASK = (1 << 64) - 1


def value(name, count):
    """Numbers in [-1, 1): splitmix64 from the name's FNV-1a hash."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & MASK
    z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1


def fill(model):
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            stored = "embed_out.weight" if name == "lm_head.weight" and model.config.model_type == "gpt_neox" else name
            values = value(stored, tensor.numel()).reshape(tensor.shape)
            if stored.endswith(".bias"):
                values = 0.3 * values
            elif tensor.dim() < 2 or "norm" in stored:
                values = 1 + 0.3 * values
            elif any(word in stored for word in ("embed", "wte", "wpe")):
                values = math.sqrt(3) * values
            else:
                values = 1.5 * math.sqrt(3 / tensor.shape[0 if conv1d(model, name) else 1]) * values
            tensor.copy_(torch.from_numpy(values.astype(np.float32)))
    return model.eval()


def build(config):
    settings = transformers.AutoConfig.for_model(**json.loads(json.dumps(config)))
    # Falcon's eager attention adds ALiBi twice, with the scores and with the mask.
    return fill(transformers.AutoModelForCausalLM.from_config(settings, attn_implementation="sdpa" if config.get("alibi") else "eager"))


def run(config, ids):
    model = build(config)
    return [round(x, 6) for x in logprobs(reference_logits(model, ids), ids).tolist()]


np.seterr(over="ignore")


def main():
    ids, cases = some_ids(97, 40), []
    for model_type, (base, variants) in FAMILIES.items():
        for case in variants:
            if case.name in REFUSED.get(model_type, []):
                continue
            config = {"model_type": model_type, **base, **case.options}
            cases.append({"name": f"{model_type} {case.name}", "config": config, "tokens": case.length, "logprobs": run(config, ids[: case.length])})
        print(model_type, len(variants), flush=True)
    write(OUT, {"transformers": transformers.__version__, "ids": ids}, cases)


def write(file, head, cases):
    """One case a line."""
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(head, separators=(",", ":"))[:-1] + f',"cases":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
