"""What HF PEFT reaches on the built-in task of docs/results/all-methods.md: the same rows in an order of its own, the same 100 steps and schedule.

./dev reference tools/parity/same_task.py METHOD:LEARNING_RATE ...          prints the loss on the dev split, for the page's section on what looks broken
"""
import json
import math
import random
import sys
from pathlib import Path

import torch
from peft import (DeloraConfig, FourierFTConfig, LoraConfig, PromptEncoderConfig, PromptTuningConfig, TinyLoraConfig, WaveFTConfig, get_peft_model)
from transformers import AutoModelForCausalLM, AutoTokenizer

DEMO = Path(__file__).resolve().parents[2] / "assets/demo"
STEPS, BATCH, WARMUP = 100, 16, 10
LINEARS = {"task_type": "CAUSAL_LM", "target_modules": "all-linear"}
PROMPT = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 20}
METHODS = {
    "lora": lambda: LoraConfig(r=8, **LINEARS),
    "delora": lambda: DeloraConfig(r=8, **LINEARS),
    "tinylora": lambda: TinyLoraConfig(**LINEARS),
    "fourierft": lambda: FourierFTConfig(n_frequency=1000, **LINEARS),
    "waveft": lambda: WaveFTConfig(n_frequency=1000, **LINEARS),
    "prompt_tuning": lambda: PromptTuningConfig(**PROMPT),
    "p_tuning": lambda: PromptEncoderConfig(**PROMPT),
}
torch.set_num_threads(1)  # so small a model only waits for more
tokenizer = AutoTokenizer.from_pretrained(DEMO / "base")


def read(name):
    rows = [json.loads(line) for line in open(DEMO / "tasks/describe" / name, encoding="utf-8")]
    return [(tokenizer(row["prompt"]).input_ids, tokenizer(row["completion"], add_special_tokens=False).input_ids + [tokenizer.eos_token_id]) for row in rows]


def padded(rows):
    longest = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for i, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        ids[i, :end] = torch.tensor(prompt + answer)
        mask[i, :end] = 1
        labels[i, len(prompt):end] = ids[i, len(prompt):end]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@torch.no_grad()
def dev_loss(model, rows):
    model.eval()
    total = count = 0
    for i in range(0, len(rows), 32):
        batch = padded(rows[i:i + 32])
        tokens = (batch["labels"] != -100).sum().item()
        total, count = total + model(**batch).loss.item() * tokens, count + tokens
    model.train()
    return total / count


def learned(method, rate, train, dev):
    torch.manual_seed(0)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(DEMO / "base", dtype=torch.float32), METHODS[method]())
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    order = random.Random(0).sample(range(len(train)), len(train))
    for step in range(STEPS):
        factor = (step + 1) / WARMUP if step < WARMUP else 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        model(**padded([train[order[(step * BATCH + i) % len(order)]] for i in range(BATCH)])).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return dev_loss(model, dev)


if __name__ == "__main__":
    train, dev = read("train.jsonl"), read("dev.jsonl")
    for choice in sys.argv[1:]:
        method, rate = choice.split(":")
        print(f"{method} at {rate}: {learned(method, float(rate), train, dev):.3f}", flush=True)
