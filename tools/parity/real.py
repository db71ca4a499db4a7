"""A real model: stories260k with adapters that PEFT trained and adapters that graft trained, both evaluated by both sides. The loss and the BLEU of
greedy texts on rows of the E2E data must be the same numbers."""

import json
import sys

from common import SHARED, Folder, Graft, Row, in_parallel, load_reference, needs_shared  # first: it quietens transformers

import torch
from peft import IA3Config, LoraConfig, PeftModel, PrefixTuningConfig, get_peft_model

from reference_loop import SETTINGS, loss_sum, train

MODEL, DATA = SHARED / "data" / "stories260k", SHARED / "data" / "e2e"
STEPS, NEW_TOKENS = 40, 40
LOSS_BOUND, BLEU_BOUND = 1e-4, 1e-6

METHODS = {
    "lora": (LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules=["q_proj", "v_proj", "down_proj"]), 5e-3,
             ["-o", "r=8", "-o", "lora_alpha=16", "-o", "target_modules=q_proj,v_proj,down_proj"]),
    "ia3": (IA3Config(task_type="CAUSAL_LM"), 3e-2, []),
    "prefix_tuning": (PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=8), 3e-2, ["-o", "num_virtual_tokens=8"]),
}


def data_rows(name, count, stride):
    lines = (DATA / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[::stride][:count]]


def tokenized(tokenizer, row):
    """Prompt and completion apart and joined, BOS in front, EOS behind."""
    prompt = [tokenizer.bos_token_id, *tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]]
    completion = tokenizer(row["completion"], add_special_tokens=False)["input_ids"]
    return {"ids": [*prompt, *completion, tokenizer.eos_token_id], "prompt": len(prompt)}


def reference_loss(model, rows):
    with torch.no_grad():
        return sum(loss_sum(model, [row]).item() for row in rows) / sum(len(row["ids"]) - row["prompt"] for row in rows)


def reference_texts(model, tokenizer, rows):
    """Greedy texts by whole forward passes: PEFT's generate() loses prefix rows (docs/parity.md)."""
    texts = []
    for row in rows:
        ids = row["ids"][: row["prompt"]]
        while len(ids) < row["prompt"] + NEW_TOKENS:
            with torch.no_grad():
                best = model(input_ids=torch.tensor([ids])).logits[0, -1].argmax().item()
            if best == tokenizer.eos_token_id:
                break
            ids.append(best)
        texts.append(tokenizer.decode(ids[row["prompt"] :], skip_special_tokens=True))
    return texts


def graft_evaluation(graft, adapter, test_file, folder):
    """Loss, BLEU and texts."""
    items = folder / f"{adapter.name}.items.jsonl"
    common = ["--model", MODEL, "--adapter", adapter, "--data", test_file, "--json", "--threads", "1"]
    loss = json.loads(graft("eval", *common, "--metric", "loss"))["value"]
    bleu = json.loads(graft("eval", *common, "--metric", "bleu", "--max-new-tokens", NEW_TOKENS, "--items", items))["value"]
    return loss, bleu, [json.loads(line)["prediction"] for line in items.read_text(encoding="utf-8").splitlines()]


def corpus_bleu(texts, rows):
    from sacrebleu import corpus_bleu as bleu

    return bleu(texts, [[row["completion"] for row in rows]]).score


def train_with_peft(method, rows, target):
    config, learning_rate, _ = METHODS[method]
    torch.manual_seed(3)
    model = get_peft_model(load_reference(MODEL), config)
    train(model, rows, learning_rate, settings={**SETTINGS, "steps": STEPS})
    model.save_pretrained(target)


def train_with_graft(graft, method, train_file, target):
    _, learning_rate, options = METHODS[method]
    graft("train", "--model", MODEL, "--method", method, *options, "--data", train_file, "--out", target, "--steps", STEPS, "--batch-size", 4, "--lr", learning_rate,
          "--dtype", "float32", "--threads", "1")


def write_rows(file, rows):
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


def run(graft):
    if not MODEL.exists():
        return needs_shared("stories260k")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    train_rows, test_rows = data_rows("train.jsonl", 64, 7), data_rows("test.jsonl", 20, 40)
    ids = [tokenized(tokenizer, row) for row in test_rows]
    results = []
    with Folder() as folder:
        train_file, test_file = write_rows(folder / "train.jsonl", train_rows), write_rows(folder / "test.jsonl", test_rows)
        adapters = []
        for method in METHODS:
            adapters += [(f"{method}, trained by PEFT", folder / f"{method}-peft"), (f"{method}, trained by graft", folder / f"{method}-graft")]
            train_with_peft(method, [tokenized(tokenizer, row) for row in train_rows], adapters[-2][1])
            train_with_graft(graft, method, train_file, adapters[-1][1])
        outcomes = in_parallel(lambda item: graft_evaluation(graft, item[1], test_file, folder), adapters)
        for (name, adapter), ours in zip(adapters, outcomes):
            results += compared(name, adapter, ours, tokenizer, ids, test_rows)
    return results


def compared(name, adapter, ours, tokenizer, ids, test_rows):
    loss_row, bleu_row = Row(f"{name}: loss", LOSS_BOUND), Row(f"{name}: BLEU", BLEU_BOUND)
    if isinstance(ours, Exception):
        loss_row.check(False, str(ours))
        return [loss_row.done()]
    model = PeftModel.from_pretrained(load_reference(MODEL), adapter).eval()
    texts = reference_texts(model, tokenizer, ids)
    different = [(a, b) for a, b in zip(ours[2], texts) if a != b]
    loss_row.difference(abs(ours[0] - reference_loss(model, ids)), f"{ours[0]}")
    bleu_row.check(not different, f"other texts: {different[:2]}")
    bleu_row.difference(abs(ours[1] - corpus_bleu(texts, test_rows)), f"{ours[1]}")
    return [loss_row.done(), bleu_row.done()]


if __name__ == "__main__":
    for result in run(Graft(sys.argv[1])):
        print(result)
