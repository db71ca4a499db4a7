#!/usr/bin/env python3
"""graft's tokenizers against Hugging Face's `tokenizers` on one thread: megabytes of real text a second, medians of interleaved rounds.

Usage: ./dev bench tokenizer [--rounds 7] [--json FILE]. Needs the package tokenizers and the shared data beside the checkout ($GRAFT_SHARED).
Hugging Face's side is encode_batch_fast (no offsets) without parallelism, its quickest way; both keep their caches from round to round.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = pathlib.Path(os.environ.get("GRAFT_SHARED") or ROOT.parent / "shared") / "data"
NAMES = ["gpt2", "qwen2", "minimind", "llama2", "t5_small", "bert_base_uncased"]


def corpora():
    wiki = (SHARED / "text" / "wikitext2_raw_test_excerpt.txt").read_text(encoding="utf-8")
    plays = (SHARED / "text" / "tinyshakespeare_excerpt.txt").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in (SHARED / "e2e" / "dev.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "wikitext lines": wiki.splitlines(),
        "shakespeare, one text": [plays],
        "e2e rows": [r["prompt"] + " " + r["completion"] for r in rows],
    }


class Graft:
    def __init__(self, worker, folder, texts):
        self.process = subprocess.Popen([worker, folder, texts], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def seconds(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())["seconds"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure(worker, name, texts, rounds):
    reference = Tokenizer.from_file(str(SHARED / "tokenizers" / name / "tokenizer.json"))
    ids = [e.ids for e in reference.encode_batch_fast(texts, add_special_tokens=False)]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(texts, file)
        file.flush()
        graft = Graft(worker, str(SHARED / "tokenizers" / name), file.name)
        times = {("graft", "encode"): [], ("graft", "decode"): [], ("hf", "encode"): [], ("hf", "decode"): []}
        for _ in range(rounds):
            for what in ("encode", "decode"):
                times["graft", what].append(graft.seconds(what))
                start = time.perf_counter()
                reference.encode_batch_fast(texts, add_special_tokens=False) if what == "encode" else reference.decode_batch(ids, skip_special_tokens=False)
                times["hf", what].append(time.perf_counter() - start)
        graft.close()
    return {f"{who} {what}": statistics.median(t) for (who, what), t in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", choices=["hf"], default="hf", help="the other side: Hugging Face's tokenizers")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--worker", default=str(ROOT / "build/release/bench/bench_tokenizer_worker"))
    parser.add_argument("--json", help="write the seconds there")
    arguments = parser.parse_args()
    results = []
    print(f"{'tokenizer':<20}{'text':<24}{'MB':>6}  encode MB/s: graft, HF, ratio     decode MB/s: graft, HF, ratio")
    for name in NAMES:
        for corpus, texts in corpora().items():
            size = sum(len(t.encode()) for t in texts) / 1e6
            m = measure(arguments.worker, name, texts, arguments.rounds)
            results.append({"tokenizer": name, "text": corpus, "megabytes": size, **m})
            cells = [f"{size / m['graft ' + w]:>12.1f}{size / m['hf ' + w]:>8.1f}{m['hf ' + w] / m['graft ' + w]:>8.1f}x" for w in ("encode", "decode")]
            print(f"{name:<20}{corpus:<24}{size:>6.2f}  {cells[0]}     {cells[1]}", flush=True)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
