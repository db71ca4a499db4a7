"""The plain training loop that graft's losses are held against: PyTorch alone, right-padded batches with an attention mask.

Loss of a step = sum of the token losses of all its micro-batches / number of supervised tokens of the whole step. AdamW with weight decay on matrices
alone, gradients clipped together, the learning rate rising over `warmup` steps and then falling on a line to 0.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

SETTINGS = {"steps": 20, "batch_size": 2, "grad_accum": 2, "warmup": 3, "weight_decay": 0.05, "clip": 1.0, "betas": (0.9, 0.999), "eps": 1e-8}


def load_rows(file):
    """Rows {"ids", "prompt"}: the first `prompt` ids are not learned from."""
    return json.loads(Path(file).read_text())


def schedule_factor(step, steps, warmup):
    return (step + 1) / warmup if step < warmup else max(0.0, 1 - (step - warmup) / max(1, steps - warmup))


def padded(rows):
    longest = max(len(row["ids"]) for row in rows)
    ids, mask, labels = (torch.full((len(rows), longest), fill) for fill in (0, 0, -100))
    for i, row in enumerate(rows):
        n = len(row["ids"])
        ids[i, :n] = torch.tensor(row["ids"])
        mask[i, :n] = 1
        labels[i, row["prompt"] : n] = torch.tensor(row["ids"][row["prompt"] :])
    labels[:, 0] = -100  # the first token of a row is never a target
    return ids, mask, labels


def loss_sum(model, rows):
    ids, mask, labels = padded(rows)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, -ids.shape[1] :]  # virtual tokens stand in front
    return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum")


def parameter_groups(model, weight_decay):
    """Decay on matrices and on lists of their entries; never on biases, norms, and factors whose identity is 1."""
    trained = [(name, tensor) for name, tensor in model.named_parameters() if tensor.requires_grad]
    apart = ("ia3_l", "phm_rule", "weight.original")  # the last: LoReFT's reflections, whose signs must stay 1 and −1

    def decays(name, tensor):
        return (tensor.dim() >= 2 and not any(word in name for word in apart)) or "supertuning_values" in name

    decayed = [tensor for name, tensor in trained if decays(name, tensor)]
    others = [tensor for name, tensor in trained if not decays(name, tensor)]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def train(model, rows, learning_rate, extra_loss=None, after_step=None, settings=SETTINGS, trained_sum=loss_sum):
    """Losses of the steps. `extra_loss()` joins the gradient, not the loss; `after_step(step)` runs behind the optimizer's step, counted from 1.
    `trained_sum(model, rows)` is what is trained in place of the loss that is shown."""
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.AdamW(parameter_groups(model, settings["weight_decay"]), lr=learning_rate, betas=settings["betas"], eps=settings["eps"])
    trained = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    per_step, losses = settings["batch_size"] * settings["grad_accum"], []
    for step in range(settings["steps"]):
        chosen = [rows[(step * per_step + i) % len(rows)] for i in range(per_step)]
        supervised = sum(len(row["ids"]) - max(1, row["prompt"]) for row in chosen)
        total = 0.0
        for begin in range(0, per_step, settings["batch_size"]):
            some = chosen[begin : begin + settings["batch_size"]]
            loss = trained_sum(model, some)
            (loss / supervised).backward()
            total += loss.item() if trained_sum is loss_sum else loss_sum(model, some).item()
        if extra_loss:
            extra_loss().backward()
        losses.append(total / supervised)
        torch.nn.utils.clip_grad_norm_(trained, settings["clip"])
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * schedule_factor(step, settings["steps"], settings["warmup"])
        optimizer.step()
        if after_step:
            after_step(step + 1)
        optimizer.zero_grad()
    return losses
