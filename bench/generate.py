"""Greedy generation, graft against transformers (with a LoRA adapter: HF PEFT) on the same weights and prompts, in turns in one run.

./dev bench generate [--rounds 5] [--new-tokens 64] [--prompts 64 512] [--batches 1 16] [--layers 30] [--float32-values] [--against hf]

Shape: SmolLM2-135M as in bench/step.py, random weights, prompts of one length so that nothing is padded, LoRA r = 16 with random factors on all
seven linears. A time is that of a whole call: the prompts and all new tokens. The weights are stored in bfloat16, as most published models are
(--float32-values: in float32); both compute in float32. A round is dropped when other processes used more than 15 % of the CPU time.
"""
import argparse
import json
import os
import random
import statistics
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from step import CONFIG, Worker, cpu_name  # noqa: E402

HF_WORKER = r"""
import json, sys, time
import torch
from transformers import AutoModelForCausalLM
from peft import PeftModel
folder, plan, threads = sys.argv[1], json.load(open(sys.argv[2])), int(sys.argv[3])
if threads: torch.set_num_threads(threads)
load = lambda: AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
models = {"plain": load(), "lora": PeftModel.from_pretrained(load(), folder + "/adapter").eval()}
class FirstToken:
    def __call__(self, ids, scores):
        if self.at is None: self.at = time.perf_counter()
        return scores
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    name, what = line.split()
    ids = torch.tensor(plan["cases"][name])
    watch = FirstToken(); watch.at = None
    with torch.inference_mode():
        start = time.perf_counter()
        out = models[what].generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=plan["new_tokens"],
                                    eos_token_id=None, pad_token_id=0, logits_processor=[watch])
        seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "first": watch.at - start, "ids": out[:, ids.shape[1]:].tolist()}), flush=True)
"""


def spread(values):
    return f"{min(values):.2f} to {max(values):.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="timed calls of each program in each case")
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--prompts", type=int, nargs="+", default=[64, 512], help="lengths of prompts")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16], help="sequences at a time")
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--float32-values", action="store_true", help="weights that are stored in float32")
    parser.add_argument("--against", choices=["hf"], help="run transformers in turns with graft")
    parser.add_argument("--only", choices=["plain", "lora"], help="without or with the adapter only")
    parser.add_argument("--worker", default=os.path.join(os.path.dirname(__file__), "../build/release/bench/bench_generate_worker"))
    args = parser.parse_args()
    draw = random.Random(7)
    cases = {f"{batch}x{length}": [[draw.randrange(3, CONFIG["vocab_size"]) for _ in range(length)] for _ in range(batch)]
             for batch in args.batches for length in args.prompts}
    config = {**CONFIG, "num_hidden_layers": args.layers}
    with tempfile.TemporaryDirectory() as folder:
        plan = os.path.join(folder, "plan.json")
        json.dump({"config": config, "r": 16, "new_tokens": args.new_tokens, "cases": cases}, open(plan, "w"))
        workers = {"graft": Worker([args.worker, folder, plan, "--threads", str(args.threads)] + ["--float32-values"] * args.float32_values)}
        if args.against == "hf":
            workers["HF"] = Worker([sys.executable, "-c", HF_WORKER, folder, plan, str(args.threads)])
        print(f"{cpu_name()}, {os.cpu_count()} cores; {args.new_tokens} new tokens for each prompt"
              + f", weights stored in {'float32' if args.float32_values else 'bfloat16'}")
        print(f"{'batch x prompt':20} {'rounds':>6} {'graft tok/s':>12} {'HF tok/s':>10} {'faster':>8} {'spread':>14} {'to 1st token':>13} {'per step':>9} {'ids':>6}")
        for name, prompts in cases.items():
            for what in [args.only] if args.only else ["plain", "lora"]:
                samples, dropped = [], 0
                for i in range(args.rounds + 1):
                    row = {program: worker.ask(f"{name} {what}") for program, worker in workers.items()}
                    if i > 0 and any(r["others"] > 0.15 for r in row.values()):
                        dropped += 1
                    elif i > 0:  # the first is the warm-up
                        samples.append(row)
                report(f"{name} {what}", samples, dropped, len(prompts) * args.new_tokens, args.new_tokens - 1)


def report(title, samples, dropped, tokens, steps):
    if not samples:
        print(f"{title:20} all {dropped} rounds were disturbed by other processes", flush=True)
        return
    middle = statistics.median
    line = f"{title:20} {len(samples):6} {middle(tokens / s['graft']['seconds'] for s in samples):12.1f}"
    if "HF" in samples[0]:
        def ratios(value):
            return [value(s["HF"]) / value(s["graft"]) for s in samples]
        whole, first = ratios(lambda r: r["seconds"]), ratios(lambda r: r["first"])
        later = ratios(lambda r: r["seconds"] - r["first"]) if steps else [float("nan")]
        same = sum(a == b for x, y in zip(samples[-1]["graft"]["ids"], samples[-1]["HF"]["ids"]) for a, b in zip(x, y)) / tokens
        line += (f" {middle(tokens / s['HF']['seconds'] for s in samples):10.1f} {middle(whole):7.2f}x {spread(whole):>14} {middle(first):12.2f}x {middle(later):8.2f}x {same:6.0%}")
    else:
        rows = [s["graft"] for s in samples]
        line += f"   first {middle(r['first'] for r in rows) * 1e3:.1f} ms, a step {middle((r['seconds'] - r['first']) / max(1, steps) for r in rows) * 1e3:.2f} ms"
    print(line, flush=True)


if __name__ == "__main__":
    main()
