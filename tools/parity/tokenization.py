"""graft's tokenizers against Hugging Face's `tokenizers`, on the tokenizers of the shared data and on small ones with every stage and option.

Usage: python3 tools/parity/tokenization.py --graft build/release/graft [--texts 400] [--only NAME]
Needs the package tokenizers; transformers and sentencepiece are compared with where they are installed.
"""
import argparse
import base64
import importlib.util
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE))
from tokenizer_builders import LLAMA3, synthetic  # noqa: E402
from tokenizer_texts import texts  # noqa: E402

SHARED = pathlib.Path(os.environ.get("GRAFT_SHARED") or HERE.parents[1].parent / "shared") / "data"


def ask(graft, folder, rows):
    """graft's answers to rows {"text"} and {"ids"}."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
        file.flush()
        done = subprocess.run([str(getattr(graft, "binary", graft)), "tokenize", "--model", str(folder), "--jsonl", file.name], capture_output=True)
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace").strip()[-300:])
    return [json.loads(line) for line in done.stdout.decode().split("\n") if line]


def compare(graft, name, folder, encode, decode, size, inputs, seed=0):
    """encode(text, special) and decode(ids, skip) are the reference; whatever it refuses is left out."""
    rng = random.Random(seed)
    rows, expected = [], []

    def add(row, call):
        try:
            value = call()
        except BaseException as error:  # a panic in Rust is no Exception
            if isinstance(error, KeyboardInterrupt):
                raise
            return None
        rows.append(row)
        expected.append(value)
        return value

    for text in inputs:
        for special in (False, True):
            ids = add({"text": text, "special_tokens": special}, lambda: {"ids": encode(text, special)})
            if ids and decode:
                add({"ids": ids["ids"], "special_tokens": special}, lambda: {"text": decode(ids["ids"], not special)})
    for _ in range(len(inputs) if decode else 0):
        ids = [rng.randrange(size) for _ in range(rng.randint(1, 12))]
        add({"ids": ids, "special_tokens": False}, lambda: {"text": decode(ids, True)})
    result = {"name": name, "cases": len(rows), "mismatches": 0, "worst": None, "notes": []}
    try:
        answers = ask(graft, folder, rows)
    except RuntimeError as error:
        return {**result, "mismatches": len(rows), "notes": [str(error)]}
    for row, want, got in zip(rows, expected, answers, strict=True):
        if want != got:
            result["mismatches"] += 1
            result["notes"].append(json.dumps({"in": row, "want": want, "got": got}))
    result["notes"] = sorted(result["notes"], key=len)[:3]  # the shortest
    return result


def compare_file(graft, name, text, inputs):
    """One tokenizer.json, given as its text."""
    reference = Tokenizer.from_str(text)
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "tokenizer.json").write_text(text, encoding="utf-8")
        return compare(graft, name, folder, lambda t, s: reference.encode(t, add_special_tokens=s).ids, lambda i, s: reference.decode(i, skip_special_tokens=s),
                       reference.get_vocab_size(), inputs)


def tiktoken_reference(folder):
    """Llama 3's rank file as transformers converts it."""
    visible = {b: chr(b) for b in [*range(33, 127), *range(161, 173), *range(174, 256)]}
    for b in range(256):
        visible.setdefault(b, chr(256 + sum(1 for v in visible.values() if ord(v) >= 256)))
    ranks = {}
    for line in (folder / "tokenizer.model").read_text().splitlines():
        token, rank = line.split()
        ranks["".join(visible[b] for b in base64.b64decode(token))] = int(rank)
    merges = [(rank, ranks[token[:i]], ranks[token[i:]], token[:i], token[i:]) for token, rank in ranks.items() for i in range(1, len(token)) if token[:i] in ranks and token[i:] in ranks]
    merges = [(a, b) for _, _, _, a, b in sorted(merges)]
    t = Tokenizer(models.BPE(vocab=ranks, merges=merges, ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    t.add_special_tokens([v["content"] for _, v in sorted(config["added_tokens_decoder"].items(), key=lambda item: int(item[0]))])
    bos = config["bos_token"]
    t.post_processor = processors.TemplateProcessing(f"{bos} $A", f"{bos} $A {bos} $B", [(bos, t.token_to_id(bos))])
    return t


def fixtures(graft, inputs):
    folders = sorted(p for p in (SHARED / "tokenizers").glob("*") if p.is_dir()) + [SHARED / "stories260k"]
    for folder in folders:
        if (folder / "tokenizer.json").exists():
            yield lambda f=folder: compare_file(graft, f.name, (f / "tokenizer.json").read_text(encoding="utf-8"), inputs)
        if importlib.util.find_spec("transformers") and (folder / "tokenizer.json").exists() and (folder / "tokenizer_config.json").exists():
            yield lambda f=folder: compare_transformers(graft, f, inputs)
    llama3 = SHARED / "tokenizers" / "llama3"
    if llama3.exists():
        def tiktoken():
            t = tiktoken_reference(llama3)
            return compare(graft, "llama3 (rank file)", llama3, lambda text, s: t.encode(text, add_special_tokens=s).ids, lambda i, s: t.decode(i, skip_special_tokens=s), t.get_vocab_size(), inputs)
        yield tiktoken
    llama2 = SHARED / "tokenizers" / "llama2"
    if llama2.exists():
        yield lambda: compare_copies(graft, "llama2 (tokenizer.model, configured)", llama2, ("tokenizer.model", "tokenizer_config.json"), inputs)
    gpt2 = SHARED / "tokenizers" / "gpt2"
    if gpt2.exists():
        yield lambda: compare_copies(graft, "gpt2 (vocab.json, merges.txt)", gpt2, ("vocab.json", "merges.txt"), inputs)
    for folder, file in (("llama2", "tokenizer.model"), ("spm_unigram_en", "test_model.model")):
        if importlib.util.find_spec("sentencepiece") and (SHARED / "tokenizers" / folder / file).exists():
            yield lambda path=SHARED / "tokenizers" / folder / file: compare_sentencepiece(graft, path, inputs)


def compare_transformers(graft, folder, inputs):
    """The whole folder, tokenizer_config.json too, through transformers' class for any tokenizer.json."""
    from transformers import PreTrainedTokenizerFast
    t = PreTrainedTokenizerFast.from_pretrained(str(folder))
    return compare(graft, folder.name + " (transformers)", folder, lambda text, s: t.encode(text, add_special_tokens=s),
                   lambda i, s: t.decode(i, skip_special_tokens=s, clean_up_tokenization_spaces=False), len(t), inputs)


def compare_copies(graft, name, given, files, inputs):
    """Some files of a folder against the tokenizer.json that stands beside them."""
    reference = Tokenizer.from_file(str(given / "tokenizer.json"))
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            (pathlib.Path(folder) / file).write_bytes((given / file).read_bytes())
        return compare(graft, name, folder, lambda t, s: reference.encode(t, add_special_tokens=s).ids, lambda i, s: reference.decode(i, skip_special_tokens=s), reference.get_vocab_size(), inputs)


def compare_sentencepiece(graft, path, inputs):
    import sentencepiece
    library = sentencepiece.SentencePieceProcessor(model_file=str(path))
    # Not at all texts: the library ends a text at a zero byte, and takes U+FFFD for broken bytes.
    inputs = [t for t in inputs if "\0" not in t]
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "tokenizer.model").write_bytes(path.read_bytes())
        return compare(graft, f"{path.parent.name} (SentencePiece)", folder, lambda t, s: library.encode(t), lambda i, s: library.decode(i), library.get_piece_size(), inputs)


def charsmap():
    path = SHARED / "tokenizers" / "t5_small" / "tokenizer.json"
    return base64.b64decode(json.loads(path.read_text(encoding="utf-8"))["normalizer"]["precompiled_charsmap"]) if path.exists() else None


def run(graft, count=400, only=""):
    """A list of {"name", "cases", "mismatches", "worst", "notes"}, one for each tokenizer; there is nothing between equal and not, so `worst` is None."""
    results = []
    for check in fixtures(graft, texts(1, count)):
        results.append(check())
        report(results[-1])
    for i, (name, tokenizer) in enumerate(synthetic(charsmap())):
        if only and only not in name:
            continue
        results.append(compare_file(graft, name, tokenizer.to_str(), texts(100 + i, count)))
        report(results[-1])
    return results


def report(result):
    print(f"{result['name']:<40} {result['cases']:>7} cases {result['mismatches']:>6} mismatches  {' '.join(result['notes'])[:1500]}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graft", default="build/release/graft")
    parser.add_argument("--texts", type=int, default=400, help="random texts for each tokenizer")
    parser.add_argument("--only", default="", help="synthetic tokenizers whose name holds this")
    arguments = parser.parse_args()
    sys.exit(any(r["mismatches"] for r in run(arguments.graft, arguments.texts, arguments.only)))
