"""What a training step costs with each method, against LoRA's in the same run.

./dev bench methods [METHOD ...] [--rounds N] [--low-memory]

Every method that `graft methods` lists, with its defaults (those below where the defaults do not fit the shape) on all linears, trains the rows of the
first step of the case "ragged" of the step benchmark: SmolLM2-135M's shape with random weights, 4 rows of about 150 tokens. LoRA with r = 8 takes
turns with it. Printed are trained parameters, the median time of a step over LoRA's in the same round, and the peak resident memory of the process. Methods that start from a pass
over training data are left out: behind that pass they are LoRA.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

import step

SHAPE = step.SHAPES["SmolLM2-135M"]
TOKENS = list(range(100, 120))
OPTIONS = {"alora": {"alora_invocation_tokens": [100]}, "c3a": {"block_size": 64}, "cpt": {"cpt_token_ids": TOKENS}, "trainable_tokens": {"token_indices": TOKENS},
           "vblora": {"vector_length": 64}, "bdlora": {"nblocks": 2}}
OTHER_TARGETS = {"llama_adapter", "ln_tuning", "trainable_tokens"}  # what they train are no linears
FROM_DATA = {"eva", "corda", "lora_ga"}


def worker(args, folder, rows, method, options):
    return step.Worker([args.worker, folder, rows, "--method", method, "--options", json.dumps(options)] + (["--low-memory"] if args.low_memory else []))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--rounds", type=int, default=2, help="timed steps of each")
    parser.add_argument("--low-memory", action="store_true")
    build = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../build/release")
    parser.add_argument("--worker", default=os.path.join(build, "bench/bench_step_worker"))
    args = parser.parse_args()
    table = json.loads(subprocess.run([os.path.join(build, "graft"), "methods", "--json"], check=True, capture_output=True, text=True).stdout)
    if unknown := set(args.methods) - {row["name"] for row in table}:
        sys.exit(f"bench: there is no method '{unknown.pop()}'; graft methods lists them")
    with tempfile.TemporaryDirectory() as folder:
        rows = os.path.join(folder, "rows.json")
        json.dump({"config": SHAPE, "steps": step.make_steps(1, 4, 0, SHAPE["vocab_size"], 1024)}, open(rows, "w"))
        subprocess.run([args.worker, folder, rows, "--make"], check=True)
        lora = worker(args, folder, rows, "lora", {"target_modules": "all-linear"})
        lora.ask("step")
        print(f"{step.cpu_name()}, {os.cpu_count()} cores\n\n| method | trained | time against LoRA | peak memory |\n|---|---:|---:|---:|", flush=True)
        for row in table:
            name = row["name"]
            if name in FROM_DATA or (args.methods and name not in args.methods):
                continue
            options = dict(OPTIONS.get(name, {}))
            if any(option["name"] == "target_modules" for option in row["options"]) and name not in OTHER_TARGETS:
                options["target_modules"] = "all-linear"
            try:
                other = worker(args, folder, rows, name, options)
            except EOFError:
                print(f"| {name} | does not start with {json.dumps(options)} | | |", flush=True)
                continue
            other.ask("step")  # both have warmed up
            ratios = []
            for _ in range(args.rounds):
                base, own = lora.ask("step"), other.ask("step")
                if max(base["others"], own["others"]) < 0.15:
                    ratios.append(own["seconds"] / base["seconds"])
            print(f"| {name} | {own['trained']:,} | {f'{statistics.median(ratios):.2f}×' if ratios else 'disturbed'} | {own['peak_memory'] / 2**20:.0f} MiB |", flush=True)
            other.stop()
        lora.stop()


if __name__ == "__main__":
    main()
