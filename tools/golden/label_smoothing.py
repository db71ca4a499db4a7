"""Writes tests/kernels/golden/label_smoothing.json: losses and gradients of transformers' LabelSmoother on a linear head.

./dev reference tools/golden/label_smoothing.py
"""

import json
from pathlib import Path

import torch
from transformers.trainer_pt_utils import LabelSmoother

OUT = Path(__file__).resolve().parents[2] / "tests" / "kernels" / "golden" / "label_smoothing.json"


def main():
    torch.manual_seed(3)
    h, weight, targets = torch.randn(5, 4), torch.randn(13, 4), torch.tensor([0, 12, 7, 7, 3])
    golden = {"h": h.tolist(), "weight": weight.tolist(), "targets": targets.tolist(), "cases": []}
    for epsilon in (0.1, 0.4):
        leaf = h.double().requires_grad_()
        # The smoother returns a mean over the labels; one row of labels, none of them masked.
        loss = LabelSmoother(epsilon=epsilon)({"logits": (leaf @ weight.double().T)[None]}, targets[None]) * len(targets)
        loss.backward()
        golden["cases"].append({"epsilon": epsilon, "loss": loss.item(), "slope": leaf.grad.tolist()})
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
