"""Writes tests/train/golden: a tiny llama and a tiny gpt2, initial adapters of PEFT and AdapterHub, rows, and the losses of 20 steps of a PyTorch loop.

./dev reference tools/golden/training.py [METHOD...]     (all methods without names)
"""

import json
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT / "tools" / "parity")  # in place of this folder, where a file is named tokenizers.py
import training  # noqa: E402
from common import Folder, read_json, write_json  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

OUT = ROOT / "tests" / "train" / "golden"


def keep(made, kept):
    """Moves what graft needs; a checkpoint's moments are zeros, which the test makes itself."""
    kept.mkdir(parents=True, exist_ok=True)
    for file in made.iterdir():
        if file.name == "encoder.safetensors":
            state = load_file(file)
            save_file({name.removeprefix("param."): tensor for name, tensor in state.items() if name.startswith("param.")}, kept / file.name)
        elif file.suffix == ".safetensors" and (made / "encoder.safetensors").exists():
            continue
        elif file.suffix in (".json", ".safetensors") and "head" not in file.name:
            shutil.copy(file, kept / file.name)
    if (kept / "adapter_config.json").exists():
        tidy_config(kept / "adapter_config.json")


def tidy_config(file):
    """The same bytes every time: no folder of this run, lists that PEFT keeps as sets in order."""
    config = read_json(file)
    for key in ("base_model_name_or_path", "model_name"):
        if key in config:
            config[key] = "model"
    for key in ("target_modules", "feedforward_modules"):
        if isinstance(config.get(key), list):
            config[key] = sorted(config[key])
    write_json(file, config)


def main():
    chosen = sys.argv[1:] or list(training.METHODS)
    file = OUT / "losses.json"
    golden = read_json(file) if file.exists() else {"settings": {}, "losses": {}}
    golden["settings"] = {key: value for key, value in training.SETTINGS.items() if key not in ("betas", "eps")}
    for family in training.MODELS:
        with Folder() as folder:
            training.write_model(family, folder)
            keep(folder / "model", OUT / family / "model")
            for rows in ("rows.jsonl", "whole.jsonl"):
                shutil.copy(folder / rows, OUT / family / rows)
            for method, losses in training.references(family, [method for method in chosen if training.fits(family, method)], folder).items():
                golden["losses"].setdefault(family, {})[method] = {"learning_rate": training.METHODS[method][1], "rows": training.rows_of(method, folder, ".jsonl").name, "losses": losses}
                if method != "full":
                    keep(folder / method, OUT / family / method)
    lines = json.dumps(golden, indent=1, sort_keys=True)
    file.write_text(lines + "\n")


if __name__ == "__main__":
    main()
