#!/usr/bin/env python3
"""Writes tests/methods/golden/family_adapters.json: log-probabilities of every family with adapters by HF PEFT.

    pip install torch==2.11.0 transformers==5.24.0 peft==0.21.2
    python tools/golden/family_adapters.py

LoRA on all linear modules (fused ones too), a prefix that is longer than some windows reach back, and virtual tokens. Weights of base
and adapter come from their names, see families.py.
"""


import numpy as np
import peft
import torch
import transformers
from families import FAMILIES, ROOT, build, logprobs, some_ids, value, write

OUT = ROOT / "tests/methods/golden/family_adapters.json"
# Beside each family's plain case: those that have other modules or other rows in the cache.
VARIANTS = {
    "opt": ["embedding_projection"],
    "falcon": ["new_decoder", "all_heads", "alibi_new_decoder"],
    "phi": ["qk_layernorm"],
    "mistral": ["window"],
    "phi3": ["window"],
    "qwen2": ["layer_types"],
    "stablelm": ["qk_layernorm"],
    "cohere": ["qk_norm"],
}
# (family, case, method): what PEFT itself cannot do.
IMPOSSIBLE = [
    ("falcon", "plain", "prefix_tuning"),  # it makes rows for every head, but the cache has one
    ("opt", "embedding_projection", "prompt_tuning"),  # it makes rows of the blocks' width
]
METHODS = {
    "lora": lambda: peft.LoraConfig(r=2, lora_alpha=3, target_modules="all-linear", task_type="CAUSAL_LM"),
    "prefix_tuning": lambda: peft.PrefixTuningConfig(num_virtual_tokens=5, task_type="CAUSAL_LM"),
    "prompt_tuning": lambda: peft.PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
}


def adapt(model, method):
    adapted = peft.get_peft_model(model, METHODS[method]())
    with torch.no_grad():
        for name, tensor in adapted.named_parameters():
            if not tensor.requires_grad:
                continue
            stored = "prompt_embeddings" if "prompt_encoder" in name else name.replace(".default", "")
            scale = 1.0 if stored == "prompt_embeddings" else 0.3
            tensor.copy_(torch.from_numpy((scale * value(stored, tensor.numel())).reshape(tensor.shape).astype(np.float32)))
    return adapted.eval()


def main():
    ids, cases = some_ids(97, 24), []
    for model_type, (base, variants) in FAMILIES.items():
        for case in variants:
            if case.name != "plain" and case.name not in VARIANTS.get(model_type, []):
                continue
            for method in METHODS:
                if (model_type, case.name, method) in IMPOSSIBLE:
                    continue
                config = {"model_type": model_type, **base, **case.options}
                model = adapt(build(config), method)
                with torch.no_grad():
                    logits = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long)).logits[0, -len(ids):].float()
                found = [round(x, 6) for x in logprobs(logits, ids).tolist()]
                cases.append({"name": f"{model_type} {case.name} {method}", "config": config, "method": method, "logprobs": found})
        print(model_type, flush=True)
    write(OUT, {"transformers": transformers.__version__, "peft": peft.__version__, "ids": ids}, cases)


if __name__ == "__main__":
    main()
