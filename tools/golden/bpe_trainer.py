"""Writes tests/embedded/bpe_golden.json: what Hugging Face's BPE trainer learns from a short difficult text.

    pip install tokenizers==0.23.3
    python tools/golden/bpe_trainer.py
"""
import json
import pathlib

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SPECIAL = ["<s>", "</s>", "<pad>"]
TEXTS = [
    "Tom's dog can't run, but the dogs of Mia's friend ran and ran. They've seen it; we'll see it too.",
    "  Two  spaces, a\ttab,\n\na blank line \n and 12 + 345 = 357!!! (so they say...)",
    "Ärger über Öl: naïve café, größer, Straße. Größe und Straßen. Привет, мир! привет миру.",
    "the thin thing that they think there is, the other thing they thought of, the ether, the three themes",
    "aaaa aaaaaa aa aaa bbbb abab ababab x\u00a0y\u2003z 日本語 日本 \U0001f600\U0001f600",
]
PROBES = ["The dogs can't see Straßen.", " 12 things\n\n  ran\t", "日本 \U0001f600 é", "", "aaaaa ababa"]

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
tokenizer.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, show_progress=False,
                              initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
tokenizer.train_from_iterator(TEXTS, trainer)
tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 0)])

model = json.loads(tokenizer.to_str())["model"]
golden = {
    "texts": TEXTS,
    "special_tokens": SPECIAL,
    "vocab_size": 400,
    "tokens": [token for token, _ in sorted(model["vocab"].items(), key=lambda item: item[1])],
    "merges": [m if isinstance(m, list) else m.split(" ") for m in model["merges"]],
    "probes": [{"text": p, "ids": tokenizer.encode(p).ids} for p in PROBES],
}
path = pathlib.Path(__file__).resolve().parents[2] / "tests" / "embedded" / "bpe_golden.json"
path.write_text(json.dumps(golden, indent=1, ensure_ascii=True) + "\n")
