"""Time and memory of a training step, graft against HF PEFT on the same weights and token ids, in turns in one run.

./dev bench step [--against hf] [CASE ...] [--rounds N] [--list]

A case is a model's shape with random weights stored in bfloat16, rows, and a method; without one all run but the long documents and the
large ones, which need a GPU. Both sides calculate in float32 (bfloat16 on a GPU) with AdamW. Ragged rows have log-normal lengths around 150 tokens and the first 40 % is not learned from; fixed rows are 256
tokens, all learned from; behind an instruction ragged rows all begin with the same 40 tokens more. HF pads a batch to its longest row, as its collators do. graft runs twice: as it comes, and with
--low-memory. A round is dropped when other processes used more than 15 % of the CPU time meanwhile; what is printed are medians
of rounds, ratios within each round, and the peak resident memory of each process (allocated memory on a GPU). Where a goal is missed,
and with --parts, a table says how far each part of a step is from the floor: its operations at the best rate of any product here.
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

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
         "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 32768}
SHAPES = {
    "SmolLM2-135M": dict(LLAMA, vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3),
    "Qwen2.5-0.5B": dict(LLAMA, model_type="qwen2", architectures=["Qwen2ForCausalLM"], vocab_size=151936, hidden_size=896, intermediate_size=4864,
                         num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2, rms_norm_eps=1e-6, rope_theta=1000000.0),
    "GPT-2": {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 50257, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024,
              "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0},
    "Llama-3.2-1B": dict(LLAMA, vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
                         num_key_value_heads=8, head_dim=64, rope_theta=500000.0),
}
SHAPES["Llama-3.2-3B"] = dict(SHAPES["Llama-3.2-1B"], hidden_size=3072, num_hidden_layers=28, num_attention_heads=24, head_dim=128)
CONFIG = SHAPES["SmolLM2-135M"]
LORA = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
# name: shape, rows in a step, their length (0: ragged), method, its options, who takes part, rounds
ALL, BOTH, ALONE, LOW = ("graft", "low", "hf"), ("graft", "hf"), ("graft", "low"), ("low",)
CASES = {
    "fixed": ("SmolLM2-135M", 4, 256, "lora", LORA, ALL, 4),
    "ragged": ("SmolLM2-135M", 4, 0, "lora", LORA, ALL, 6),
    "ragged16": ("SmolLM2-135M", 16, 0, "lora", LORA, ALL, 3),
    "instruction": ("SmolLM2-135M", 4, 0, "lora", LORA, ALL, 4),
    "full": ("SmolLM2-135M", 4, 256, "full", {}, BOTH, 3),
    "dora": ("SmolLM2-135M", 4, 0, "lora", dict(LORA, use_dora=True), ALL, 3),
    "prefix": ("SmolLM2-135M", 4, 0, "prefix_tuning", {"num_virtual_tokens": 20}, ALL, 3),
    "houlsby": ("SmolLM2-135M", 4, 0, "houlsby", {}, ALL, 3),
    "qwen": ("Qwen2.5-0.5B", 4, 0, "lora", LORA, ALL, 3),
    "gpt2": ("GPT-2", 4, 0, "lora", LORA, ALL, 3),
    "1b": ("Llama-3.2-1B", 4, 0, "lora", LORA, LOW, 2),
}
INSTRUCTION = {"instruction": 40}  # tokens in front of every row of a case
# One long document, minutes a step: only when asked for.
LONG = {f"{n}k": ("SmolLM2-135M", 1, n * 1024, "lora", LORA, ALONE, 1) for n in (4, 8, 16, 32)}
# Work for a GPU.
LARGE = {
    "1b-ragged": ("Llama-3.2-1B", 16, 0, "lora", LORA, BOTH, 8),
    "1b-fixed": ("Llama-3.2-1B", 8, 1024, "lora", LORA, BOTH, 8),
    "3b-fixed": ("Llama-3.2-3B", 4, 1024, "lora", LORA, BOTH, 8),
    "1b-wide": ("Llama-3.2-1B", 32, 1024, "lora", LORA, ("graft",), 6),
    "3b-wide": ("Llama-3.2-3B", 16, 1024, "lora", LORA, ("graft",), 6),
}
CASES.update({**LONG, **LARGE})
# case: (times as fast, part of the memory), as it comes and with --low-memory
GOALS = {"fixed": ((1.7, 5), (1.1, 12)), "ragged": ((2.7, 5), (1.9, 12)), "ragged16": ((4.5, 5), (3.2, 28)), "full": ((1.5, 0), None), "dora": ((3.0, 0), None)}
GPU_GOALS = dict.fromkeys(("1b-ragged", "1b-fixed", "3b-fixed"), ((2.0, 2),))

HF_WORKER = r"""
import contextlib, json, os, sys, time
import torch
folder, rows, threads, device, method, options = sys.argv[1], json.load(open(sys.argv[2])), int(sys.argv[3]), sys.argv[4], sys.argv[5], json.loads(sys.argv[6])
gpu = device.startswith("cuda")
if threads: torch.set_num_threads(threads)
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16 if gpu else torch.float32, attn_implementation="sdpa")
if method == "houlsby":
    import adapters
    adapters.init(model); model.add_adapter("a", config=adapters.DoubleSeqBnConfig()); model.train_adapter("a")
elif method != "full":
    import peft
    config = peft.LoraConfig if method == "lora" else peft.PrefixTuningConfig
    model = peft.get_peft_model(model, config(task_type="CAUSAL_LM", **options))
model = model.to(device); model.train()
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, weight_decay=0.0, fused=True if gpu else None)
def padded(step):
    longest = max(len(row["ids"]) for row in step)
    ids = torch.zeros(len(step), longest, dtype=torch.long); mask = torch.zeros_like(ids); labels = torch.full_like(ids, -100)
    for i, row in enumerate(step):
        n = len(row["ids"]); ids[i, :n] = torch.tensor(row["ids"]); mask[i, :n] = 1
        labels[i, row["learned_from"]:n] = ids[i, row["learned_from"]:n]
    return [t.to(device) for t in (ids, mask, labels)]
steps = [padded(s) for s in rows["steps"]]
def peak():
    if gpu: return torch.cuda.max_memory_allocated()
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"): return int(line.split()[1]) * 1024
print(json.dumps({"ready": True}), flush=True)
done = 0
for _ in sys.stdin:
    ids, mask, labels = steps[done % len(steps)]
    start = time.perf_counter()
    with torch.autocast("cuda", dtype=torch.bfloat16) if gpu else contextlib.nullcontext():  # the usual way to train float32 adapters on a bfloat16 base
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    loss.backward(); value = loss.item()
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimizer.step(); optimizer.zero_grad()
    if gpu: torch.cuda.synchronize()
    print(json.dumps({"seconds": time.perf_counter() - start, "loss": value, "peak_memory": peak()}), flush=True); done += 1
"""


class Worker:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE if "-c" in command else None, text=True)
        self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise EOFError(self.process.stderr.read()[-400:] if self.process.stderr else "")
        return json.loads(line)

    def ask(self, request):
        """The answer to a request, and the share of the machine's CPU time that others used meanwhile; EOFError when the program ended."""
        cores, before, own = os.cpu_count(), cpu_busy(), self.cpu()
        start = time.perf_counter()
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        row = self.read()
        wall = time.perf_counter() - start
        row["others"] = max(0.0, cpu_busy() - before - (self.cpu() - own)) / (wall * cores)
        return row

    def cpu(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def cpu_busy():
    user, nice, system, _idle, _iowait, irq, softirq = map(int, open("/proc/stat").readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def make_steps(count, batch, fixed, vocab, longest, instruction=0):
    draw = random.Random(7)
    front = [draw.randrange(3, vocab) for _ in range(instruction)]
    steps = []
    for _ in range(count):
        step = []
        for _ in range(batch):
            n = fixed or max(16, min(longest, round(math.exp(draw.gauss(math.log(150), 0.6)))))
            step.append({"ids": front + [draw.randrange(3, vocab) for _ in range(n)], "learned_from": instruction + (1 if fixed else max(1, int(0.4 * n)))})
        steps.append(step)
    return steps


def hf_command(method, arguments):
    python = os.environ.get("GRAFT_ADAPTERHUB_PYTHON") if method == "houlsby" else sys.executable
    return [python, "-c", HF_WORKER] + arguments if python else None


def model_folder(shape, home, rows, args):
    """A model of the shape, made once for all cases of a run."""
    folder = os.path.join(home, shape)
    if not os.path.exists(folder):
        os.mkdir(folder)
        subprocess.run([args.worker, folder, rows, "--make"], check=True)  # in a process of its own, or its memory would count
    return folder


def run_case(name, args, home):
    shape, batch, fixed, method, options, who, rounds = CASES[name]
    rounds = args.rounds or rounds
    warm_ups = 1 if args.device == "cpu" else 8  # libraries choose kernels for each new shape, and load them
    longest = 256 if batch == 16 and args.device == "cpu" else 1024  # or HF needs more than 20 GB for what it pads
    steps = make_steps(rounds + warm_ups, batch, fixed, SHAPES[shape]["vocab_size"], longest, INSTRUCTION.get(name, 0))
    with tempfile.TemporaryDirectory(dir=home) as own_folder:
        rows = os.path.join(own_folder, "rows.json")
        json.dump({"config": SHAPES[shape], "steps": steps}, open(rows, "w"))
        folder = model_folder(shape, home, rows, args)
        own = [args.worker, folder, rows, "--threads", str(args.threads), "--device", args.device, "--method", method, "--options", json.dumps(options)]
        commands = {"graft": own} if "graft" in who else {}
        if "low" in who and args.device == "cpu":
            commands["graft --low-memory"] = own + ["--low-memory"]
        if "graft" in who and args.cuda_graphs:
            commands["graft --cuda-graphs"] = own + ["--cuda-graphs"]
        hf = hf_command(method, [folder, rows, str(args.threads), args.device, method, json.dumps(options)]) if "hf" in who and args.against == "hf" else None
        if hf:
            commands["AdapterHub" if method == "houlsby" else "HF" if method == "full" else "HF PEFT"] = hf
        workers = {}
        for key, command in commands.items():
            try:
                workers[key] = Worker(command)
            except EOFError as e:
                print(f"{name}: {key} did not start: {str(e).strip() or 'ended by the system'}")
        if not workers:
            return
        samples = {worker: [] for worker in workers}
        dropped = 0
        for i in range(rounds + warm_ups):
            row = {}
            for key in list(workers):
                try:
                    row[key] = workers[key].ask("step")
                except EOFError:
                    print(f"{name}: {key} was ended by the system; it needs more memory than there is")
                    del workers[key], samples[key]
            if i < warm_ups:
                continue
            if any(r["others"] > 0.15 for r in row.values()):
                dropped += 1
                continue
            for key, r in row.items():
                samples[key].append(dict(r, tokens=sum(len(x["ids"]) for x in steps[i]), flops=step_flops(SHAPES[shape], steps[i], LORA["r"])))
        peaks = {key: row[key]["peak_memory"] for key in workers}
        profile = workers["graft"].ask("profile")["profile"] if args.profile and "graft" in workers else {}
        for worker in workers.values():
            worker.stop()
        report(name, args, samples, peaks, dropped)
        for what, times in profile.items():
            print_times(what, times)
        if args.device == "cpu" and "graft" in workers and samples["graft"] and (args.parts or any(not reached(name, key, samples, peaks, "cpu") for key in samples if reference_of(samples) and goal_of(name, key, "cpu"))):
            print_parts(own, args)


def print_times(what, times, most=25):
    """Where a step on a GPU spends its time, the longest first."""
    print(f"  {len(times)} {what}, {sum(count for _, count in times.values())} times, {1e3 * sum(seconds for seconds, _ in times.values()):.1f} ms")
    for name, (seconds, count) in sorted(times.items(), key=lambda entry: -entry[1][0])[:most]:
        print(f"  {1e3 * seconds:9.3f} ms {count:6}  {name[:150]}")


def step_flops(config, rows, r):
    """Operations that a step of LoRA needs: products with frozen weights, forward and back to the input, adapters, causal attention."""
    if "hidden_size" not in config:
        return None
    hidden, layers, heads = config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]
    dim = config.get("head_dim", hidden // heads)
    keys, inner = dim * config["num_key_value_heads"], config["intermediate_size"]
    shapes = [(hidden, heads * dim), (hidden, keys), (hidden, keys), (heads * dim, hidden), (hidden, inner), (hidden, inner), (inner, hidden)]
    block = sum(4 * n * m + 6 * r * (n + m) for n, m in shapes)
    lengths = [len(row["ids"]) for row in rows]
    learned = sum(len(row["ids"]) - row["learned_from"] for row in rows)
    return block * layers * sum(lengths) + 4 * hidden * config["vocab_size"] * learned + 7 * heads * dim * layers * sum(n * n for n in lengths)


def reference_of(samples):
    return next((key for key in samples if not key.startswith("graft")), None)


def against(key, samples, peaks):
    """How many times as fast as the reference, and in what part of its memory."""
    reference = reference_of(samples)
    return statistics.median(b["seconds"] / a["seconds"] for a, b in zip(samples[key], samples[reference])), peaks[reference] / peaks[key]


def goal_of(name, key, device):
    return dict(zip(("graft", "graft --low-memory"), (GOALS if device == "cpu" else GPU_GOALS).get(name, ()))).get(key)


def reached(name, key, samples, peaks, device):
    return all(value >= least for value, least in zip(against(key, samples, peaks), goal_of(name, key, device)))


def print_parts(own, args):
    """Time and floor of each part of a step, measured on one step's rows in a process of its own."""
    program = os.path.join(os.path.dirname(args.worker), "bench_parts")
    result = json.loads(subprocess.run([program if word == args.worker else word for word in own if word not in ("--device", args.device)], check=True, capture_output=True, text=True).stdout)
    print(f"  the parts of a step against the floor, at the best product's {result['rate'] / 1e9:.0f} GFLOP/s")
    print(f"  {'':20} {'s':>8} {'floor s':>9} {'above it':>9}")
    for part in result["parts"] + [{"part": "all", "seconds": sum(p["seconds"] for p in result["parts"]), "floor": sum(p["floor"] for p in result["parts"])}]:
        print(f"  {part['part']:20} {part['seconds']:8.3f} {part['floor']:9.3f} {part['seconds'] - part['floor']:9.3f}", flush=True)


def report(name, args, samples, peaks, dropped):
    shape, batch, fixed, method, options, _, _ = CASES[name]
    what = "DoRA" if options.get("use_dora") else method
    print(f"\n{name}: {shape}, {what}, {batch} {'rows of ' + str(fixed) if fixed else 'ragged rows'}{' behind one instruction' if name in INSTRUCTION else ''}; {len(next(iter(samples.values())))} clean rounds, {dropped} dropped")
    if not next(iter(samples.values())):
        print("  all rounds were disturbed by other processes; try again on a quiet machine")
        return
    reference = reference_of(samples)
    print(f"  {'':20} {'s/step':>8} {'tokens/s':>9} {'peak MiB':>9} {'loss':>9}  against {reference or '-'}")
    for key, values in samples.items():
        ratio = ""
        if reference and key != reference:
            times, part = against(key, samples, peaks)
            ratio = f"{times:.2f}x in 1/{part:.1f} of the memory"
            goal = goal_of(name, key, args.device)
            if goal:
                ratio += f"  (goal {goal[0]}x{f' in 1/{goal[1]}' if goal[1] else ''}: {'reached' if reached(name, key, samples, peaks, args.device) else 'missed'})"
        print(f"  {key:20} {statistics.median(r['seconds'] for r in values):8.3f} {statistics.median(r['tokens'] / r['seconds'] for r in values):9.0f} "
              f"{peaks[key] / 2**20:9.0f} {values[-1]['loss']:9.5f}  {ratio}", flush=True)
    if args.device != "cpu" and method == "lora" and values[0]["flops"]:
        print("  what the step needs at least, per second: " + ", ".join(f"{key} {statistics.median(r['flops'] / r['seconds'] for r in values) / 1e12:.0f} TFLOP/s" for key, values in samples.items()))


def cpu_name():
    return next((line.split(": ")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", help="cases to run: " + ", ".join(CASES))
    parser.add_argument("--against", choices=["hf"], help="run HF PEFT in turns with graft (needs torch, transformers, peft; ./dev bench brings them)")
    parser.add_argument("--rounds", type=int, default=0, help="timed steps of each program; 0: as many as the case says")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda: bfloat16 on both sides, allocated memory instead of resident")
    parser.add_argument("--worker", default=os.path.join(os.path.dirname(__file__), "../build/release/bench/bench_step_worker"))
    parser.add_argument("--parts", action="store_true", help="print the parts of a step of each case")
    parser.add_argument("--cuda-graphs", action="store_true", help="on a GPU: also with recorded passes (a size is recorded when it comes for the third time)")
    parser.add_argument("--profile", action="store_true", help="on a GPU: print the kernels of one more step of graft, and what the CPU did meanwhile")
    parser.add_argument("--list", action="store_true", help="list the cases")
    args = parser.parse_args()
    if args.list:
        for name, (shape, batch, fixed, method, options, _, _) in CASES.items():
            print(f"{name:10} {shape}, {method} {json.dumps(options)}, {batch} rows {'of ' + str(fixed) if fixed else 'ragged'}{', behind one instruction' if name in INSTRUCTION else ''}")
        return
    for name in args.cases:
        if name not in CASES:
            sys.exit(f"bench: there is no case '{name}'; known: {', '.join(CASES)}")
    flags = open("/proc/cpuinfo").read()
    print(f"{cpu_name()}, {os.cpu_count()} cores, {'AVX-512' if ' avx512f' in flags else 'AVX2'}, device {args.device}")
    with tempfile.TemporaryDirectory() as home:
        for name in args.cases or [name for name in CASES if name not in LONG and name not in LARGE]:
            run_case(name, args, home)


if __name__ == "__main__":
    main()
