"""Adapters that graft trained, loaded by HF PEFT: of methods whose start, gradients or rates differ from LoRA's, and whose files are plain LoRA all the same.
Each function returns rows of the table."""

import json

from common import Row, as_text, largest_difference, load_reference, reference_logits, some_ids

METHODS = [  # (method, options)
    ("lora_plus", ["r=3"]),
    ("lora_fa", ["r=3", "target_modules=all-linear"]),
    ("riemannian_lora", ["r=3", "use_rslora=true"]),
    ("pissa", ["r=3", "target_modules=all-linear"]),
    ("olora", ["r=3", "use_rslora=true"]),
    ("mica", ["r=3", "target_modules=all-linear"]),
    ("eva", ["r=4", "lora_alpha=6", "target_modules=all-linear"]),
    ("eva", ["r=2", "rho=4", "tau=0.5", "use_rslora=true", "target_modules=all-linear"]),
    ("corda", ["r=3", "target_modules=all-linear"]),
    ("corda", ["r=3", "corda_method=kpm", "use_rslora=true"]),
    ("lora_ga", ["r=3", "target_modules=all-linear"]),
    ("lora_ga", ["r=2", "direction=random", "scale=gd_scale", "lora_alpha=5"]),
]


def rows(graft, bases, folder):
    from adapters import peft_logits

    data = folder / "trained.jsonl"
    data.write_text("".join(json.dumps({"text": as_text(some_ids(61, 24, seed=i))}) + "\n" for i in range(40)), encoding="utf-8")
    found = {}
    for number, (method, options) in enumerate(METHODS):
        row = found.setdefault(method, Row(f"{method}: trained"))
        for base in ("llama", "gpt2"):
            label, out, merged = f"{base}, {' '.join(options)}", folder / f"trained{number}_{base}", folder / f"trained{number}_{base}_merged"
            ids = some_ids(61, 20, seed=number)
            try:
                words = [word for option in options for word in ("-o", option)]
                graft("train", "--model", bases[base], "--data", data, "--method", method, *words, "--steps", 4, "--batch-size", 6, "--lr", 0.01, "--threads", 1, "--out", out)
                ours = graft.logits(bases[base], ids, out)
                theirs, model = peft_logits(bases[base], out, ids)
                row.difference(largest_difference(ours, theirs), label)
                row.check(largest_difference(ours, graft.logits(bases[base], ids)) > 1e-3, f"{label}: the adapter changes nothing")
                graft("merge", "--model", bases[base], "--adapter", out, "--out", merged, "--threads", 1)
                row.difference(largest_difference(reference_logits(load_reference(merged), ids), reference_logits(model.merge_and_unload().eval(), ids)), f"{label}, merged")
            except Exception as error:  # noqa: BLE001: a method's failure is its result
                row.check(False, f"{label}: {type(error).__name__}: {error}")
    return [row.done() for row in found.values()]
