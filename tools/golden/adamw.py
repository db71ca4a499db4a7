"""Writes tests/optim/golden/adamw.json: parameters and moments after steps of torch's AdamW with clipping, where some parameters have no gradient in some steps.

./dev reference tools/golden/adamw.py
"""

import json
from pathlib import Path

import torch

OUT = Path(__file__).resolve().parents[2] / "tests" / "optim" / "golden" / "adamw.json"
RATE, DECAY, CLIP = 0.01, 0.1, 1.0
# name, shape, weight decay, factor of the learning rate, steps without a gradient
PARAMS = [("a", (3, 5), True, 1.0, ()), ("b", (7,), False, 1.0, (0, 2)), ("c", (2, 2), True, 16.0, (1,)), ("never", (2,), True, 1.0, (0, 1, 2, 3))]


def main():
    torch.manual_seed(3)
    params = {name: torch.randn(shape).requires_grad_() for name, shape, *_ in PARAMS}
    golden = {"rate": RATE, "decay": DECAY, "clip": CLIP, "params": []}
    groups = [{"params": [params[name]], "lr": RATE * factor, "weight_decay": DECAY if decays else 0.0} for name, _, decays, factor, _ in PARAMS]
    optimizer = torch.optim.AdamW(groups, foreach=False)
    rows = {name: {"name": name, "decays": decays, "factor": factor, "start": params[name].tolist(), "gradients": []} for name, _, decays, factor, _ in PARAMS}
    norms = []
    for step in range(4):
        for name, shape, _, _, without in PARAMS:
            # Steps of large and of small gradients: clipped and not.
            params[name].grad = None if step in without else torch.randn(shape) * (3.0 if step % 2 else 0.05)
            rows[name]["gradients"].append(None if step in without else params[name].grad.tolist())
        norms.append(torch.nn.utils.clip_grad_norm_(list(params.values()), CLIP).item())
        optimizer.step()
    for name, param in params.items():
        state = optimizer.state.get(param, {})
        rows[name]["end"] = param.tolist()
        rows[name]["steps"] = state["step"].item() if state else 0
        rows[name]["first"] = (state["exp_avg"] if state else torch.zeros_like(param)).tolist()
        golden["params"].append(rows[name])
    golden["norms"] = norms
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
