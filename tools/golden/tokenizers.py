"""Writes tests/tokenizer/golden/<name>.json: small tokenizers with every stage and option, and what Hugging Face's `tokenizers` makes of some texts.

Usage: python3 tools/golden/tokenizers.py.
"""
import argparse
import json
import pathlib
import random
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
# This file has the name of the package that it needs.
sys.path = [p for p in sys.path if pathlib.Path(p or ".").resolve() != ROOT / "tools" / "golden"]
import tokenizers  # noqa: E402

sys.path.append(str(ROOT / "tools" / "parity"))
from tokenizer_builders import synthetic  # noqa: E402
from tokenizer_texts import texts  # noqa: E402


def small_charsmap():
    """A table in Darts-clone's layout: a -> xy, a + combining acute -> A, combining grave -> nothing, ℌ -> H, ﬁ -> fi, the ideographic space -> a space."""
    replacements = {"a": "xy", "ba": "Q", "e\u0301": "E", "\u0300": "", "ℌ": "H", "ﬁ": "fi", "\u3000": " ", "ｶ": "カ", "\U0001f600": ":)"}
    blob, offsets = b"", {}
    for key, value in replacements.items():
        offsets[key.encode()] = len(blob)
        blob += value.encode() + b"\0"
    trie = {}
    for key, value in offsets.items():
        node = trie
        for byte in key:
            node = node.setdefault(byte, {})
        node[None] = value
    units, used = {0: 0}, {0}

    def place(node, at):
        labels = [0 if k is None else k for k in node]
        offset = next(o for o in range(1, 1 << 20) if all((at ^ o ^ label) not in used for label in labels) and o < 1 << 20)
        used.update(at ^ offset ^ label for label in labels)
        units[at] = units.get(at, 0) | offset << 10 | (1 << 8 if None in node else 0)
        for key, child in node.items():
            where = at ^ offset ^ (0 if key is None else key)
            if key is None:
                units[where] = child | 1 << 31
            else:
                units[where] = key
                place(child, where)

    place(trie, 0)
    size = (max(units) | 255) + 1
    return struct.pack("<I", size * 4) + b"".join(struct.pack("<I", units.get(i, 0)) for i in range(size)) + blob


def refused(call):
    try:
        return call()
    except BaseException as error:  # a panic in Rust is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        return None


def cases(name, tokenizer, seed):
    rng = random.Random(seed)
    rows = []
    chosen = [t for t in texts(seed, 60) if 0 < len(t) < 45]
    for text in rng.sample(chosen[:9], 4) + rng.sample(chosen[9:], 9):
        for special in (False, True) if name.startswith("post-") else (False,):
            encoding = refused(lambda: tokenizer.encode(text, add_special_tokens=special))
            if encoding is not None:
                rows.append({"text": text, "special": special, "ids": encoding.ids})
            # A model of single bytes says nothing about decoding.
            if encoding is not None and not name.startswith(("pre-", "normalizer-", "post-")):
                rows[-1]["decoded"] = tokenizer.decode(encoding.ids, skip_special_tokens=not special)
    for _ in range(20 if name.startswith("decoder-") else 4):
        ids = [rng.randrange(tokenizer.get_vocab_size()) for _ in range(rng.randint(1, 9))]
        decoded = refused(lambda: tokenizer.decode(ids, skip_special_tokens=True))
        if decoded is not None:
            rows.append({"ids": ids, "decoded": decoded, "special": False})
    return rows


def main():
    folder = ROOT / "tests" / "tokenizer" / "golden"
    folder.mkdir(parents=True, exist_ok=True)
    for i, (name, tokenizer) in enumerate(synthetic(small_charsmap())):
        golden = {"made_by": f"tools/golden/tokenizers.py with tokenizers {tokenizers.__version__}", "tokenizer": json.loads(tokenizer.to_str()), "cases": cases(name, tokenizer, 1000 + i)}
        (folder / f"{name}.json").write_text(json.dumps(golden, ensure_ascii=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
