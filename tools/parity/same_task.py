"""What HF PEFT reaches on the tasks of docs/results/all-methods.md: the same rows in an order of its own, the same 100 steps and schedule.

./dev reference tools/parity/same_task.py METHOD:LEARNING_RATE ...              the built-in task
./dev reference tools/parity/same_task.py --e2e DIR METHOD:LEARNING_RATE ...    E2E with stories260k; DIR holds stories260k/ and e2e/

Prints the loss on the dev split, for the page's section on what looks broken; METHOD base is the untuned model.
"""
import argparse
import json
import math
import random
from pathlib import Path

import torch
from peft import (DeloraConfig, FourierFTConfig, IA3Config, LoraConfig, OFTConfig, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, TinyLoraConfig,
                  VeraConfig, WaveFTConfig, get_peft_model)
from transformers import AutoModelForCausalLM, AutoTokenizer

DEMO = Path(__file__).resolve().parents[2] / "assets/demo"
STEPS, WARMUP = 100, 10
LINEARS = {"task_type": "CAUSAL_LM", "target_modules": "all-linear"}
PROMPT = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 20}
METHODS = {
    "lora": lambda: LoraConfig(r=8, **LINEARS),
    "delora": lambda: DeloraConfig(r=8, **LINEARS),
    "oft": lambda: OFTConfig(oft_block_size=4, **LINEARS),
    "vera": lambda: VeraConfig(r=64, **LINEARS),
    "ia3": lambda: IA3Config(task_type="CAUSAL_LM"),
    "tinylora": lambda: TinyLoraConfig(**LINEARS),
    "fourierft": lambda: FourierFTConfig(n_frequency=1000, **LINEARS),
    "waveft": lambda: WaveFTConfig(n_frequency=1000, **LINEARS),
    "prompt_tuning": lambda: PromptTuningConfig(**PROMPT),
    "prefix_tuning": lambda: PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=10),
    "p_tuning": lambda: PromptEncoderConfig(**PROMPT),
}
torch.set_num_threads(1)  # so small a model only waits for more


class Task:
    """A base, rows as token ids of prompt and answer, and how many of them make a step."""

    def __init__(self, base, train, dev, dev_rows, batch):
        self.base, self.batch = base, batch
        self.tokenizer = AutoTokenizer.from_pretrained(base)
        self.train, self.dev = self.read(train), self.read(dev)[:dev_rows]

    def read(self, path):
        rows = [json.loads(line) for line in open(path, encoding="utf-8")]
        ids = self.tokenizer
        return [(ids(row["prompt"]).input_ids, ids(row["completion"], add_special_tokens=False).input_ids + [ids.eos_token_id]) for row in rows]


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


def learned(method, rate, task):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(task.base, dtype=torch.float32)
    if method == "base":
        return dev_loss(model, task.dev)
    model = get_peft_model(model, METHODS[method]())
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    order = random.Random(0).sample(range(len(task.train)), len(task.train))
    for step in range(STEPS):
        factor = (step + 1) / WARMUP if step < WARMUP else 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        model(**padded([task.train[order[(step * task.batch + i) % len(order)]] for i in range(task.batch)])).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return dev_loss(model, task.dev)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("choices", nargs="+", metavar="METHOD:LEARNING_RATE", help=", ".join(METHODS))
    parser.add_argument("--e2e", type=Path, help="folder that holds stories260k/ and e2e/")
    options = parser.parse_args()
    if options.e2e:
        task = Task(options.e2e / "stories260k", options.e2e / "e2e/train.jsonl", options.e2e / "e2e/dev.jsonl", 150, batch=8)
    else:
        task = Task(DEMO / "base", DEMO / "tasks/describe/train.jsonl", DEMO / "tasks/describe/dev.jsonl", None, batch=16)
    for choice in options.choices:
        method, _, rate = choice.partition(":")
        print(f"{choice}: {learned(method, float(rate or 0), task):.3f}", flush=True)


if __name__ == "__main__":
    main()
