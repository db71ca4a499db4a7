"""Time and memory of a LoRA training step, graft against HF PEFT on the same weights and rows, in turns in one run.

./dev bench step [--batch 4] [--rounds 8] [--fixed LENGTH] [--layers 30] [--checkpointing] [--alone]

Shape: SmolLM2-135M (30 layers, width 576, 9 query and 3 key/value heads, MLP 1536, vocabulary 49152), random weights, LoRA r = 16 on all
seven linears, AdamW, float32. Rows: ragged lengths, log-normal around 150 tokens, the first 40 % not learned from; or --fixed N for equal rows
with all tokens learned. HF pads a batch to its longest row, as its collators do. Where torch, transformers and peft are not
installed, graft runs alone. A sample is dropped when other processes used more than 15 % of the CPU time meanwhile.
"""
import argparse
import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time

CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
    "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0, "tie_word_embeddings": True, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2,
}
HF_WORKER = r"""
import json, sys, time
import torch
from transformers import AutoModelForCausalLM
from peft import LoraConfig, get_peft_model
folder, rows, r, threads = sys.argv[1], json.load(open(sys.argv[2])), int(sys.argv[3]), int(sys.argv[4])
if threads: torch.set_num_threads(threads)
model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
                       LoraConfig(r=r, lora_alpha=2 * r, target_modules="all-linear", task_type="CAUSAL_LM"))
model.train()
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, weight_decay=0.0)
def padded(step):
    longest = max(len(row["ids"]) for row in step)
    ids = torch.zeros(len(step), longest, dtype=torch.long); mask = torch.zeros_like(ids); labels = torch.full_like(ids, -100)
    for i, row in enumerate(step):
        n = len(row["ids"]); ids[i, :n] = torch.tensor(row["ids"]); mask[i, :n] = 1
        labels[i, row["learned_from"]:n] = ids[i, row["learned_from"]:n]
    return ids, mask, labels
steps = [padded(s) for s in rows["steps"]]
def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"): return int(line.split()[1]) * 1024
print(json.dumps({"ready": True}), flush=True)
done = 0
for _ in sys.stdin:
    ids, mask, labels = steps[done % len(steps)]
    start = time.perf_counter()
    loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    loss.backward(); value = loss.item()
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimizer.step(); optimizer.zero_grad()
    print(json.dumps({"seconds": time.perf_counter() - start, "loss": value, "peak_memory": peak()}), flush=True); done += 1
"""


class Worker:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("bench: a worker stopped")
        return json.loads(line)

    def ask(self, line):
        """One answer to a line, and the share of the machine's CPU time that others used meanwhile."""
        cores, before, own = os.cpu_count(), cpu_busy(), self.cpu()
        start = time.perf_counter()
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        row = self.read()
        wall = time.perf_counter() - start
        row["others"] = max(0.0, cpu_busy() - before - (self.cpu() - own)) / (wall * cores)
        return row

    def cpu(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_busy():
    user, nice, system, _idle, _iowait, irq, softirq = map(int, open("/proc/stat").readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def cpu_name():
    return next((line.split(": ")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())


def make_rows(args):
    draw = random.Random(7)
    steps = []
    for _ in range(args.rounds + 1):
        step = []
        for _ in range(args.batch):
            n = args.fixed or max(16, min(1024, round(math.exp(draw.gauss(math.log(150), 0.6)))))
            step.append({"ids": [draw.randrange(3, CONFIG["vocab_size"]) for _ in range(n)], "learned_from": 1 if args.fixed else max(1, int(0.4 * n))})
        steps.append(step)
    return steps


def have_reference():
    return subprocess.run([sys.executable, "-c", "import torch, transformers, peft"], capture_output=True).returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=4, help="rows in a step")
    parser.add_argument("--rounds", type=int, default=8, help="timed steps of each program")
    parser.add_argument("--fixed", type=int, default=0, help="rows of this length instead of ragged ones")
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--checkpointing", action="store_true", help="graft recomputes activations")
    parser.add_argument("--alone", action="store_true", help="graft only")
    parser.add_argument("--worker", default=os.path.join(os.path.dirname(__file__), "../build/release/bench/bench_step_worker"))
    args = parser.parse_args()
    CONFIG["num_hidden_layers"] = args.layers
    steps = make_rows(args)
    with tempfile.TemporaryDirectory() as folder:
        rows = os.path.join(folder, "rows.json")
        json.dump({"config": CONFIG, "steps": steps}, open(rows, "w"))
        own = [args.worker, folder, rows, "--threads", str(args.threads)] + (os.environ.get("WARGS","").split())
        subprocess.run(own + ["--make"], check=True)  # in a process of its own, or its memory would count
        workers = {"graft": Worker(own)}
        if args.alone:
            pass
        elif have_reference():
            workers["HF PEFT"] = Worker([sys.executable, "-c", HF_WORKER, folder, rows, "16", str(args.threads)])
        else:
            print("torch, transformers and peft are not installed for this python: graft alone")
        samples = {name: [] for name in workers}
        dropped = 0
        for i in range(args.rounds + 1):
            row = {name: worker.ask("step") for name, worker in workers.items()}
            if i == 0:
                continue  # warm-up
            if any(r["others"] > 0.15 for r in row.values()):
                dropped += 1
                continue
            for name, r in row.items():
                r["tokens"] = sum(len(x["ids"]) for x in steps[i])
                samples[name].append(r)
    if not samples["graft"]:
        sys.exit(f"bench: all {dropped} rounds were disturbed by other processes; try again on a quiet machine")
    print(f"{cpu_name()}, {os.cpu_count()} cores; {len(samples['graft'])} clean rounds, {dropped} dropped")
    print(f"{'':10} {'s/step':>8} {'tokens/s':>9} {'peak MiB':>9} {'loss':>9}")
    for name, rows in samples.items():
        print(f"{name:10} {statistics.median(r['seconds'] for r in rows):8.3f} {statistics.median(r['tokens'] / r['seconds'] for r in rows):9.0f} "
              f"{max(r['peak_memory'] for r in rows) / 2**20:9.0f} {rows[-1]['loss']:9.5f}")
    if len(samples) == 2:
        ratio = statistics.median(b["seconds"] / a["seconds"] for a, b in zip(samples["graft"], samples["HF PEFT"]))
        memory = samples["HF PEFT"][-1]["peak_memory"] / samples["graft"][-1]["peak_memory"]
        print(f"graft is {ratio:.2f}x as fast with 1/{memory:.1f} of the memory (median of paired rounds)")


if __name__ == "__main__":
    main()
