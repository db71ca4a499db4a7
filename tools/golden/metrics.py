#!/usr/bin/env python3
"""Writes tests/eval/golden/metrics.json: what the reference packages say of a few hundred hard texts.

    pip install sacrebleu==2.6.0 rouge-score==0.1.2 scikit-learn
    python tools/golden/metrics.py [folder of e2e/test_refs.jsonl and e2e/dev_refs.jsonl]

With the folder, corpus numbers on the E2E references go in as well: the first reference of an item stands as hypothesis
against the others (items with one reference: against itself reversed).
"""

import json
import pathlib
import random
import sys

from nltk.stem.porter import PorterStemmer
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU
from sklearn.metrics import accuracy_score, f1_score

OUT = pathlib.Path(__file__).resolve().parent.parent.parent / "tests/eval/golden/metrics.json"
rng = random.Random(7)

WORDS = """the a green boat sails slowly near 3.5 kilometres of coast, and "nobody" saw it: (really!) children's toys cost $1,080.50;
re-run the state-of-the-art tests 10-20 times & wait... naïve Café über ΑΣ İstanbul 中文。 relational conditionally happiness
generalizations flies dying controlled hopping agreed sensibilities""".split()
SIGNS = list(".,-/&;:'\"!?()[]{}<>#$%*+=@^_`|~\\ \t\n\r\x0b\x1c\x85\xa0\u2003\u2028\u3000\u200b0123456789abzABZ") + [
    "&quot;", "&amp;", "&lt;", "&gt;", "&amp;lt;", "<skipped>", "-\n", "İ", "\u212a", "Σ", "ΑΣ", "ẞ", "é", "Ж", "中", "。", "\U0001f600", "Ⅷ",
    "\u0301", "’", "\U00010400", "１"]
SUFFIXES = """ational tional enci anci izer bli abli alli entli eli ousli ization ation ator alism iveness fulness ousness aliti iviti biliti
fulli logi icate ative alize iciti ical ful ness al ance ence er ic able ible ant ement ment ent sion tion ion ou ism ate iti ous ive ize e ll
ed ing eed ied ies s sses ss y atted bled ized lling""".split()


def sentence():
    return " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 16)))


def noise():
    return "".join(rng.choice(SIGNS) for _ in range(rng.randrange(0, 24)))


def changed(text):
    words = text.split(" ")
    for _ in range(rng.randrange(4)):
        words[rng.randrange(len(words))] = rng.choice(WORDS)
    return " ".join(words)


def streams(references):
    return [[r[k] if k < len(r) else None for r in references] for k in range(max(map(len, references)))]


pairs = [("", [""]), ("a", ["a"]), ("a b", [""]), ("", ["a b"]), ("x y z", ["a b c d e"]), ("a b c d", ["a b c d", "a b c"])]
for _ in range(120):
    reference = sentence()
    pairs.append((changed(reference), [reference] + [changed(reference) for _ in range(rng.randrange(3))]))
for _ in range(120):
    text = noise()
    pairs.append((text, [text[: len(text) // 2] + noise()] + [noise() for _ in range(rng.randrange(2))]))

corpus, lower, single = BLEU(), BLEU(lowercase=True), BLEU(effective_order=True)
rouge, stemmed, porter = RougeScorer(["rougeL"]), RougeScorer(["rougeL"], use_stemmer=True), PorterStemmer()

items = []
for text, references in pairs:
    own = [[r] for r in references]
    items.append({
        "text": text,
        "references": references,
        "tokens": corpus._preprocess_segment(text),
        "lower_case": text.lower(),
        "stats": corpus._extract_corpus_statistics([text], own)[0],
        "stats_lower": lower._extract_corpus_statistics([text], own)[0],
        "sentence_bleu": single.sentence_score(text, references).score,
        "rouge_l": list(rouge.score_multi(references, text)["rougeL"]),
        "rouge_l_stemmed": list(stemmed.score_multi(references, text)["rougeL"]),
    })

texts, references = [p[0] for p in pairs], [p[1] for p in pairs]
stems = sorted({"".join(rng.choice("aeiouybcdlrstz") for _ in range(rng.randrange(5))) + rng.choice(SUFFIXES) for _ in range(400)} |
               {"sky", "skies", "dying", "news", "innings", "proceed", "a", "is", "yyy", "enjoy", "geology", "theology", "apology", "apologies"})
labels = [rng.choice(["yes", "no", "maybe", "never"]) for _ in range(60)]
guesses = [label if rng.random() < 0.6 else rng.choice(["yes", "no", "maybe", ""]) for label in labels]
golden = {
    "items": items,
    "corpus_bleu": corpus.corpus_score(texts, streams(references)).score,
    "corpus_bleu_lower": lower.corpus_score(texts, streams(references)).score,
    "corpus_bleu_first": [corpus.corpus_score(texts[:n], streams(references[:n])).score for n in range(1, 40)],
    "stems": {word: porter.stem(word) for word in stems},
    "labels": {"references": labels, "predictions": guesses, "accuracy": accuracy_score(labels, guesses),
               "macro_f1": f1_score(labels, guesses, average="macro", zero_division=0)},
}
if len(sys.argv) > 1:
    for split in ("dev", "test"):
        rows = [json.loads(line)["references"] for line in open(f"{sys.argv[1]}/{split}_refs.jsonl", encoding="utf-8")]
        hyps = [r[0] for r in rows]
        refs = [r[1:] or [" ".join(reversed(r[0].split(" ")))] for r in rows]
        mean = lambda scorer: sum(scorer.score_multi(r, h)["rougeL"].fmeasure for h, r in zip(hyps, refs)) / len(rows)
        golden[f"e2e_{split}"] = {"bleu": corpus.corpus_score(hyps, streams(refs)).score,
                                  "bleu_lower": lower.corpus_score(hyps, streams(refs)).score,
                                  "rouge_l": mean(rouge), "rouge_l_stemmed": mean(stemmed)}
else:
    golden |= {k: v for k, v in json.loads(OUT.read_text()).items() if k.startswith("e2e_")} if OUT.exists() else {}

OUT.parent.mkdir(exist_ok=True)
OUT.write_text("{\n" + ",\n".join(
    f'"{key}": ' + ("[\n" + ",\n".join(json.dumps(i) for i in value) + "\n]" if key == "items" else json.dumps(value))
    for key, value in golden.items()) + "\n}\n")
