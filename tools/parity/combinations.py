"""Several LoRA adapters: PEFT's add_weighted_adapter against graft merge without --model, and its sum of active adapters against --adapter A --adapter B.
`rows` returns rows of the table.

    python tools/parity/combinations.py [GRAFT]

Tensors must be PEFT's to the last bits; where a decomposition turns them, their product. With `svd` PEFT's own float32 is off from float64 by up to
2.2e-6, depending on the processor (graft by 2e-7 at most), which that kind's bound allows for. Entries that are dropped at random are the same when PEFT's
generator starts from the same seed behind the initial values of the new adapter."""

import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from common import Folder, Graft, Row, largest_difference, load_reference, reference_logits, some_ids  # noqa: E402

SEED = 17
SAME = [dict(r=4, lora_alpha=6), dict(r=4), dict(r=4, lora_alpha=3)]
ALL = [dict(r=4, lora_alpha=6, target_modules="all-linear"), dict(r=4, target_modules="all-linear"), dict(r=4, lora_alpha=3, target_modules="all-linear")]
RANKS = {  # other ranks, targets, patterns and scales
    "llama": [dict(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"], rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 5}),
              dict(r=2, target_modules=["q_proj", "up_proj"]), dict(r=3, lora_alpha=5, target_modules=["embed_tokens", "v_proj"])],
    "gpt2": [dict(r=4, lora_alpha=6, target_modules=["c_attn", "c_fc"], rank_pattern={"c_attn": 2}, alpha_pattern={"c_fc": 5}),
             dict(r=2, target_modules=["c_attn"]), dict(r=3, lora_alpha=5, target_modules=["wte", "c_fc"])],
}
SAME_EMBEDDING = {"llama": [dict(r=3, target_modules=["embed_tokens", "q_proj"])] * 2, "gpt2": [dict(r=3, target_modules=["wte", "c_attn"])] * 2}
# PEFT gives the result the first adapter's use_rslora, which scales it once more: its tensors are compared, its logits are not.
ROOTED = [dict(r=4, use_rslora=True), dict(r=4, use_rslora=True, lora_alpha=2)]

CASES = []  # (row, adapters or a choice by base, weights, options of add_weighted_adapter)


def case(kind, adapters, weights, **options):
    CASES.append((kind, adapters, weights, options))


for kind in ("linear", "cat", "svd"):
    case(kind, SAME[:2], [0.7, 0.3])
    case(kind, ALL, [1.0, -0.6, 0.4])
    case(kind, SAME_EMBEDDING, [0.5, -0.5])
    case(kind, ROOTED, [0.8, 0.6])
for kind in ("cat", "svd"):
    case(kind, RANKS, [0.7, -0.4, 1.3])
case("svd", ALL, [1.0, 0.5, 0.2], svd_rank=2)
case("linear", SAME[:1], [0.5])
for kind in ("magnitude_prune", "ties", "dare_linear", "dare_ties"):
    for name in (kind, kind + "_svd"):
        for density in (0.5, 0.2):
            case(name, ALL, [1.0, -0.6, 0.4], density=density)
            case(name, SAME[:2], [0.7, 0.3], density=density)
        case(name, SAME_EMBEDDING, [0.9, -0.5], density=0.5)
        if "ties" in kind:
            case(name, ALL, [1.0, 0.6, 0.4], density=0.5, majority_sign_method="frequency")
    case(kind + "_svd", RANKS, [0.7, -0.4, 1.3], density=0.5, svd_rank=3)


def made_by_peft(base_folder, adapters, folder, number):
    """The model with the adapters a0, a1, ..., filled at random; each lies in a folder of its name."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(number)
    names = [f"a{i}" for i in range(len(adapters))]
    configs = [LoraConfig(task_type="CAUSAL_LM", **options) for options in adapters]
    model = get_peft_model(load_reference(base_folder), configs[0], adapter_name=names[0])
    for name, config in zip(names[1:], configs[1:]):
        model.add_adapter(name, config)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if ".lora_" in name:
                tensor.add_(torch.randn(tensor.shape) * 0.1)
    model.save_pretrained(str(folder))
    return model.eval(), names


def combined_by_peft(model, names, weights, kind, options):
    """Tensors by name as in a file."""
    import torch
    from peft import get_peft_model_state_dict
    from peft.tuners.lora import model as lora_model

    freeze = lora_model._freeze_adapter

    def freeze_and_seed(*arguments):  # what PEFT calls between the new adapter's initial values and the combination
        torch.manual_seed(SEED)
        return freeze(*arguments)

    lora_model._freeze_adapter = freeze_and_seed
    try:
        model.add_weighted_adapter(names, weights, "mix", combination_type=kind, **options)
    finally:
        lora_model._freeze_adapter = freeze
    model.set_adapter("mix")
    return {name: tensor for name, tensor in get_peft_model_state_dict(model, adapter_name="mix", save_embedding_layers=False).items()}


def tensor_difference(theirs, ours, products):
    """Of the tensors, or of B A for each module."""
    ours = {name: tensor for name, tensor in ours.items() if ".base_layer." not in name}
    if set(theirs) != set(ours):
        raise AssertionError(f"names differ: {sorted(set(theirs) ^ set(ours))[:3]}")
    if not products:
        return max(largest_difference(ours[name], theirs[name]) for name in theirs)
    second = {name: name.replace("lora_A", "lora_B").replace("embedding_A", "embedding_B") for name in theirs if "lora_A" in name or "embedding_A" in name}
    return max(largest_difference(ours[b] @ ours[a], theirs[b] @ theirs[a]) for a, b in second.items())


def one_case(graft, base_name, base_folder, folder, number, rows):
    from safetensors.torch import load_file

    from adapters import peft_logits

    kind, adapters, weights, options = CASES[number]
    if isinstance(adapters, dict):
        adapters = adapters[base_name]
    label, ids, made = f"{base_name}, {len(adapters)} adapters, {options}", some_ids(61, 20, seed=number), folder / "made"
    model, names = made_by_peft(base_folder, adapters, folder, number)
    words = [word for name in names for word in ("--adapter", folder / name)]
    flags = {"combination-type": kind, "weights": ",".join(map(str, weights)), "density": options.get("density"), "svd-rank": options.get("svd_rank"),
             "majority-sign-method": options.get("majority_sign_method"), "seed": SEED if "dare" in kind else None}
    graft("merge", *words, "--out", made, "--threads", 1, *[word for key, value in flags.items() if value is not None for word in (f"--{key}", value)])
    theirs = combined_by_peft(model, names, weights, kind, options)
    rows["tensors"].difference(tensor_difference(theirs, load_file(made / "adapter_model.safetensors"), kind.endswith("svd")), label)
    ours = graft.logits(base_folder, ids, made)
    rows["logits"].difference(largest_difference(peft_logits(base_folder, made, ids)[0], ours), f"{label}, read by PEFT")
    if not any("use_rslora" in options for options in adapters):
        rows["logits"].difference(largest_difference(reference_logits(model, ids), ours), label)
    if kind == "cat" and base_name == "llama":
        together = [folder / name for name in names]
        rows["active"].difference(largest_difference(graft.logits(base_folder, ids, together, weights=flags["weights"]), ours), f"{label}, weighted sum")
        model.base_model.set_adapter(names)
        active = reference_logits(model, ids)
        rows["active"].difference(largest_difference(graft.logits(base_folder, ids, together), active), f"{label}, active together")
        graft("merge", "--model", base_folder, *words, "--out", folder / "merged", "--threads", 1)
        rows["active"].difference(largest_difference(reference_logits(load_reference(folder / "merged"), ids), active), f"{label}, merged together")


def rows(graft, bases, folder):
    import torch

    torch.set_num_threads(1)
    found, active = {}, Row("several LoRA: active together")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, (kind, *_) in enumerate(CASES):
            bound = 4e-6 if kind == "svd" else 2e-6
            of_kind = found.setdefault(kind, {"tensors": Row(f"LoRA combined by {kind}: tensors", bound=bound), "logits": Row(f"LoRA combined by {kind}: logits")})
            for base in ("llama", "gpt2"):
                place = folder / f"combination{number}_{base}"
                place.mkdir()
                try:
                    one_case(graft, base, bases[base], place, number, {**of_kind, "active": active})
                except Exception as error:  # noqa: BLE001: a case's failure is its result
                    of_kind["logits"].check(False, f"{base}, case {number}: {type(error).__name__}: {str(error)[:300]}")
    return [row.done() for of_kind in found.values() for row in of_kind.values()] + [active.done()]


if __name__ == "__main__":
    from adapters import make_bases

    root = Path(__file__).resolve().parents[2]
    with Folder() as folder:
        for row in rows(Graft(sys.argv[1] if len(sys.argv) > 1 else root / "build/release/graft"), make_bases(folder), folder):
            print(f"{row['name']:46} {row['cases']:4} cases  {row['mismatches']:3} mismatches  {row['worst']:.2e}")
            for note in row["notes"]:
                print("   ", note)
