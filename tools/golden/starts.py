#!/usr/bin/env python3
"""Writes tests/methods/golden/starts.json: where HF PEFT's data-driven and spectral starts of LoRA begin, and what its optimizers make of gradients.

./dev reference tools/golden/starts.py

Weights come from their names, see families.py. Singular vectors have free signs, so that AᵀA, BBᵀ (lora_ga, eva, mica) or BA (corda, pissa) are stored,
times a vector from the same formula. Sizes are such that PEFT's randomised decompositions are exact.
"""

import sys
import warnings

sys.path.append(sys.path.pop(0))  # tokenizers.py stands beside this file and is not the package

import peft  # noqa: E402
import torch  # noqa: E402
from families import ROOT, build, some_ids, value, write  # noqa: E402
from peft.optimizers import create_lorafa_optimizer, create_loraplus_optimizer, lorafa  # noqa: E402
from peft.optimizers.riemannian import _collect_lora_pairs, _RiemannianPreconditioner  # noqa: E402
from peft.tuners.lora.corda import preprocess_corda  # noqa: E402
from peft.tuners.lora.eva import initialize_lora_eva_weights  # noqa: E402
from peft.tuners.lora.loraga import preprocess_loraga  # noqa: E402

OUT = ROOT / "tests/methods/golden/starts.json"
COMMON = dict(vocab_size=97, bos_token_id=1, eos_token_id=2)
BASES = {
    "llama": dict(COMMON, model_type="llama", hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                  max_position_embeddings=64, attention_bias=True, tie_word_embeddings=False),
    "gpt2": dict(COMMON, model_type="gpt2", n_embd=16, n_layer=2, n_head=4, n_positions=64, tie_word_embeddings=True),
}
ALL = {"llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], "gpt2": ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"]}
INPUTS_OF_16 = {"llama": ALL["llama"][:-1], "gpt2": ALL["gpt2"][:-1]}
# Batches of equally long rows; the first tokens of a row are its prompt.
BATCHES, ROWS, LENGTH, PROMPT = 12, 3, 20, 5


def batches(count=BATCHES):
    ids = some_ids(97, count * ROWS * LENGTH, seed=5)
    made = []
    for i in range(count):
        tokens = torch.tensor(ids[i * ROWS * LENGTH:(i + 1) * ROWS * LENGTH]).reshape(ROWS, LENGTH)
        labels = tokens.clone()
        labels[:, :PROMPT] = -100
        made.append({"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels})
    return made


def probe(count):
    return torch.from_numpy(value("probe", count)).float()


def numbers(tensor):
    return [round(x, 7) for x in tensor.double().tolist()]


def layers(model):
    from peft.tuners.lora import LoraLayer

    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            a, b = module.lora_A["default"].weight.detach(), module.lora_B["default"].weight.detach()
            yield name.removeprefix("base_model.model."), module, a, b


def products(model):
    """Of every adapted module: rank, scale, AᵀA p, BBᵀ p and BA p for a vector p."""
    found = {}
    for name, module, a, b in layers(model):
        found[name] = {"r": a.shape[0], "scale": module.scaling["default"], "aa": numbers(a.T @ (a @ probe(a.shape[1]))),
                       "bb": numbers(b @ (b.T @ probe(b.shape[0]))), "ba": numbers(b @ (a @ probe(a.shape[1])))}
    return found


def start(base, kind, options, peft_only=None, prepare=None, after=None):
    model = build(BASES[base])
    config = peft.LoraConfig(task_type="CAUSAL_LM", **{"target_modules": ALL[base], **options}, **(peft_only or {}))
    if prepare:
        prepare(model, config)
    adapted = peft.get_peft_model(model, config)
    if after:
        after(adapted)
    return {"kind": kind, "base": base, "options": options, "modules": products(adapted)}


def run_rows(model):
    with torch.no_grad():
        for batch in batches():
            for row in batch["input_ids"]:  # PEFT's covariances want one row at a time
                model(row.unsqueeze(0))


def train_step(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # PEFT takes gradients in training mode
    for batch in batches():
        model(**batch).loss.backward()


def fill(model):
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "lora_" in name:
                tensor.copy_(0.3 * torch.from_numpy(value(name.replace(".default", ""), tensor.numel())).float().reshape(tensor.shape))
    return model


def gradients(pairs):
    """BᵀB-like summaries are not needed here: gradients have signs. Rows of one number each keep the file small."""
    return {name: numbers(g @ probe(g.shape[1])) for name, g in pairs.items()}


def optimizers():
    lorafa.is_bf16_available = lambda: False  # its product in float32
    made = []
    config = dict(r=3, lora_alpha=5, target_modules=ALL["llama"])

    def fresh():
        model = fill(peft.get_peft_model(build(BASES["llama"]), peft.LoraConfig(task_type="CAUSAL_LM", **config)))
        model(**batches(1)[0]).loss.backward()
        return model

    def named(model):
        return {n.replace(".default", ""): p for n, p in model.named_parameters() if p.requires_grad}

    model = fresh()
    _RiemannianPreconditioner(_collect_lora_pairs(model), reg=1e-2).step()
    made.append({"kind": "riemannian_lora", "options": config, "gradients": gradients({n: p.grad for n, p in named(model).items()})})

    model = fill(peft.get_peft_model(build(BASES["llama"]), peft.LoraConfig(task_type="CAUSAL_LM", **config)))
    optimizer = create_lorafa_optimizer(model=model, r=3, lora_alpha=5, lr=1e-3)
    model(**batches(1)[0]).loss.backward()
    optimizer.step()
    changed = {key + "_B.weight": state["exp_avg_B"] / 0.1 for key, state in optimizer.state.items() if "exp_avg_B" in state}
    made.append({"kind": "lora_fa", "options": config, "gradients": gradients(changed)})

    config = dict(r=3, target_modules=["q_proj", "embed_tokens"], use_dora=True, modules_to_save=["lm_head"])
    model = peft.get_peft_model(build(BASES["llama"]), peft.LoraConfig(task_type="CAUSAL_LM", **config))
    optimizer = create_loraplus_optimizer(model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=8.0, loraplus_lr_embedding=2e-5)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    made.append({"kind": "lora_plus", "options": dict(config, loraplus_lr_ratio=8.0, loraplus_lr_embedding=2e-5), "lr": 1e-3,
                 "rates": {name.replace("_vector.weight", "_vector"): rates[id(p)] for name, p in named(model).items()}})
    return made


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    cases = []
    for base in BASES:
        for eva in (dict(tau=0.9), dict(tau=0.99, whiten=True, rho=1.5), dict(tau=0.5, use_label_mask=False, adjust_scaling_factors=False)):
            rank = {"r": 4, "lora_alpha": 6} if eva.get("rho", 2.0) == 2.0 else {"r": 5, "lora_alpha": 5}
            # PEFT whitens in place, so once more for every module that shares the input: none does here.
            apart = {"llama": ["q_proj", "o_proj", "gate_proj"], "gpt2": INPUTS_OF_16["gpt2"]}
            options = dict(rank, target_modules=(apart if eva.get("whiten") else INPUTS_OF_16)[base])
            case = start(base, "eva", options, dict(init_lora_weights="eva", eva_config=peft.EvaConfig(**eva)),
                         after=lambda model: initialize_lora_eva_weights(model, batches(), show_progress_bar=False))
            case["options"] = dict(options, **eva)
            cases.append(case)
        for method in ("ipm", "kpm"):
            options = dict(r=3, lora_alpha=6, corda_method=method)
            case = start(base, "corda", dict(r=3, lora_alpha=6), dict(init_lora_weights="corda", corda_config=peft.tuners.lora.config.CordaConfig(corda_method=method)),
                         prepare=lambda model, config: preprocess_corda(model, config, run_model=lambda: run_rows(model)))
            case["options"] = dict(options, target_modules=ALL[base])
            cases.append(case)
        # PEFT reads `in` for `out` in "stable" where weights are stored [in, out].
        kinds = [("ArB2r", "unit"), ("ArBr", "gd_scale"), ("A2rBr", "weight_svd")] + ([("ArB2r", "stable")] if base == "llama" else [])
        for direction, scale in kinds:
            config = peft.LoraGAConfig(direction=direction, scale=scale)
            case = start(base, "lora_ga", dict(r=4, lora_alpha=6), dict(init_lora_weights="lora_ga", lora_ga_config=config),
                         prepare=lambda model, config: preprocess_loraga(model, config, lambda: train_step(model)))
            case["options"] = dict(r=4, lora_alpha=6, direction=direction, scale=scale, target_modules=ALL[base])
            cases.append(case)
        case = start(base, "mica", dict(r=3), dict(init_lora_weights="mica"))
        case["options"] = dict(r=3, target_modules=ALL[base])
        cases.append(case)
    ids = torch.cat([b["input_ids"].flatten() for b in batches()]).tolist()
    write(OUT, {"peft": peft.__version__, "bases": BASES, "ids": ids, "rows": ROWS, "length": LENGTH, "prompt": PROMPT}, cases + optimizers())


if __name__ == "__main__":
    main()
