"""Small tokenizers that together have every stage and option of tokenizer.json."""
import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tokenizer_texts import BY_HAND, CODE, LOOK_ALIKES, WORDS

CORPUS = BY_HAND[5:20] * 3 + [" ".join(WORDS)] * 20 + [" ".join(CODE)] * 3 + ["the quick brown fox jumps over the lazy dog and the other foxes"] * 20
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
         r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def probe():
    """A model whose ids show every byte and where pieces begin: unknown characters become bytes, behind ## within a piece."""
    vocab = {"<0x%02X>" % b: b for b in range(256)}
    return models.BPE(vocab=vocab, merges=[], byte_fallback=True, continuing_subword_prefix="##")


def probed(normalizer=None, pre_tokenizer=None):
    t = Tokenizer(probe())
    if normalizer:
        t.normalizer = normalizer
    if pre_tokenizer:
        t.pre_tokenizer = pre_tokenizer
    return t


def stages(charsmap):
    n, p = normalizers, pre_tokenizers
    for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel"):
        yield "normalizer-" + name, probed(getattr(n, name)())
    for left in (False, True):
        for right in (False, True):
            yield f"normalizer-Strip-{left}-{right}", probed(n.Strip(left, right))
    yield "normalizer-Prepend", probed(n.Prepend("▁x"))
    yield "normalizer-Replace-string", probed(n.Replace(" ", "▁"))
    yield "normalizer-Replace-empty", probed(n.Replace("", "-"))
    yield "normalizer-Replace-regex", probed(n.Sequence([n.Replace(Regex(r"\s{2,}|[^\w\s]"), "·"), n.Replace(Regex(r"(?<=a)b*"), "<>")]))
    for clean in (False, True):
        for accents in (None, False, True):
            yield f"normalizer-Bert-{clean}-{accents}", probed(n.BertNormalizer(clean, True, accents, clean))
    yield "normalizer-Sequence", probed(n.Sequence([n.NFD(), n.StripAccents(), n.Lowercase(), n.Strip()]))
    if charsmap:
        yield "normalizer-Precompiled", probed(n.Precompiled(charsmap))
    for prefix in (False, True):
        for regex in (False, True):
            yield f"pre-ByteLevel-{prefix}-{regex}", probed(None, p.ByteLevel(prefix, use_regex=regex))
    for scheme in ("always", "first", "never"):
        for split in (False, True):
            yield f"pre-Metaspace-{scheme}-{split}", with_tokens(probed(None, p.Metaspace("▁", scheme, split)))
    yield "pre-Metaspace-first-later", probed(None, p.Sequence([p.WhitespaceSplit(), p.Metaspace("_", "first")]))
    for behavior in ("removed", "isolated", "contiguous", "merged_with_previous", "merged_with_next"):
        for invert in (False, True):
            yield f"pre-Split-{behavior}-{invert}", probed(None, p.Split(Regex(r"[aeiou ]|(?=[A-Z])"), behavior, invert))
        yield f"pre-Split-text-{behavior}", probed(None, p.Split("  ", behavior))
        yield f"pre-Punctuation-{behavior}", probed(None, p.Punctuation(behavior))
    for name, expression in (("llama3", LLAMA3), ("qwen2", QWEN2), ("o200k", O200K), ("deepseek", DEEPSEEK), ("classes", r"[^\W\d_]+|[\d\h]+|\P{L}\b"),
                             ("properties", r"\p{Lu}\p{Ll}*|\p{^L}\S|\P{N}+?\p{Mn}+|[\P{Ll}\s]{2}"), ("anchors", r"^\s*|\s+$|.\b"), ("dot", r"(?m:a.+?b)|(?i:TOK|k)|[A-z]{3}")):
        yield "pre-Split-" + name, probed(None, p.Split(Regex(expression), "isolated"))
    for single in (False, True):
        yield f"pre-Digits-{single}", probed(None, p.Digits(single))
    for name in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer", "UnicodeScripts"):
        yield "pre-" + name, probed(None, getattr(p, name)())
    yield "pre-CharDelimiterSplit", probed(None, p.CharDelimiterSplit("a"))
    yield "pre-FixedLength", probed(None, p.FixedLength(3))
    yield "pre-Sequence", probed(n.NFKC(), p.Sequence([p.Whitespace(), p.Digits(True), p.Punctuation("contiguous"), p.ByteLevel(False)]))


def with_tokens(t):
    t.add_special_tokens(["<s>", "</s>"])
    return t


def trained(model, trainer, normalizer=None, pre_tokenizer=None, decoder=None):
    t = Tokenizer(model)
    if normalizer:
        t.normalizer = normalizer
    if pre_tokenizer:
        t.pre_tokenizer = pre_tokenizer
    if decoder:
        t.decoder = decoder
    t.train_from_iterator(CORPUS, trainer)
    return t


def changed(t, **model):
    """The same tokenizer with other fields of its model."""
    data = json.loads(t.to_str())
    data["model"].update(model)
    return Tokenizer.from_str(json.dumps(data))


def trained_models():
    p, n, d = pre_tokenizers, normalizers, decoders
    size = dict(vocab_size=420, show_progress=False)
    alphabet = p.ByteLevel.alphabet()
    byte_level = trained(models.BPE(), trainers.BpeTrainer(special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, **size), None, p.ByteLevel(False), d.ByteLevel())
    yield "bpe-byte-level", byte_level
    yield "bpe-ignore-merges", changed(byte_level, ignore_merges=True)
    lacking = json.loads(byte_level.to_str())
    for unk, fuse in ((None, False), ("<|endoftext|>", False), ("<|endoftext|>", True)):
        few = trained(models.BPE(unk_token=unk, fuse_unk=fuse), trainers.BpeTrainer(vocab_size=200, limit_alphabet=60, special_tokens=["<|endoftext|>"], show_progress=False), None, p.ByteLevel(True), d.ByteLevel())
        yield f"bpe-few-bytes-{unk}-{fuse}", few
    bytes_of = ["<0x%02X>" % b for b in range(256)]
    mark = n.Sequence([n.Prepend("▁"), n.Replace(" ", "▁")])
    llama = d.Sequence([d.Replace("▁", " "), d.ByteFallback(), d.Fuse(), d.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>"]
    yield "bpe-byte-fallback", trained(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True),
                                       trainers.BpeTrainer(special_tokens=special + bytes_of, limit_alphabet=90, vocab_size=600, show_progress=False), mark, None, llama)
    yield "bpe-half-fallback", trained(models.BPE(unk_token="<unk>", fuse_unk=False, byte_fallback=True),
                                       trainers.BpeTrainer(special_tokens=special + bytes_of[:200], limit_alphabet=40, vocab_size=400, show_progress=False), mark, None, llama)
    yield "bpe-ends", trained(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"), trainers.BpeTrainer(special_tokens=special, end_of_word_suffix="</w>", limit_alphabet=80, **size),
                              n.Lowercase(), p.Whitespace(), d.BPEDecoder("</w>"))
    yield "bpe-continuing", trained(models.BPE(unk_token="<unk>", continuing_subword_prefix="##", fuse_unk=True),
                                    trainers.BpeTrainer(special_tokens=special, continuing_subword_prefix="##", limit_alphabet=80, **size), None, p.BertPreTokenizer(), d.WordPiece("##", True))
    yield "bpe-whole-text", trained(models.BPE(), trainers.BpeTrainer(limit_alphabet=100, **size))
    yield "word-piece", trained(models.WordPiece(unk_token="[UNK]"), trainers.WordPieceTrainer(special_tokens=["[UNK]", "[CLS]", "[SEP]"], **size), n.BertNormalizer(), p.BertPreTokenizer(),
                                d.WordPiece("##", True))
    yield "word-piece-short", trained(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=5), trainers.WordPieceTrainer(special_tokens=["[UNK]"], **size), None, p.WhitespaceSplit(),
                                      d.WordPiece("##", False))
    yield "word-level", trained(models.WordLevel(unk_token="<unk>"), trainers.WordLevelTrainer(special_tokens=["<unk>"], **size), None, p.Whitespace())
    unigram = trained(models.Unigram(), trainers.UnigramTrainer(vocab_size=300, unk_token="<unk>", special_tokens=["<unk>", "<s>", "</s>"], show_progress=False), n.Sequence([n.Nmt(), n.NFKC(), n.Replace(Regex(" {2,}"), " ")]), p.Metaspace(), d.Metaspace())
    yield "unigram", unigram
    vocab = json.loads(unigram.to_str())["model"]["vocab"]
    yield "unigram-byte-fallback", changed(unigram, byte_fallback=True, vocab=vocab + [[b, 0.0] for b in bytes_of])
    yield "unigram-half-fallback", changed(unigram, byte_fallback=True, vocab=vocab + [[b, 0.0] for b in bytes_of[:160]])
    yield "unigram-ties", Tokenizer(models.Unigram([("<unk>", 0.0)] + [(w, float(-len(w))) for w in ["a", "b", "ab", "ba", "aa", "aba", "t", "h", "th", "e", "he", "the", "xx", "??"]], 0))


def special_cases():
    p, n = pre_tokenizers, normalizers
    for normalizer in (None, n.Lowercase(), n.Sequence([n.NFD(), n.StripAccents()])):
        t = probed(normalizer, p.Metaspace("▁", "first"))
        for flags in range(32):
            single, left, right, normalized, special = (bool(flags >> i & 1) for i in range(5))
            name = ["tok", "TOK", "été", "one two", "<|im_end|>", "[CLS]", "the", "x", "<s>", "</s>", "##", "ing", "dog", "12", "''", "\n\n", "<unk>", "a", "é", "Tok", "hello", "w", "do", "not",
                    "<pad>", "<mask>", "fox", "▁", "😀", "を", "foo", "3"][flags]
            t.add_tokens([AddedToken(name, single_word=single, lstrip=left, rstrip=right, normalized=normalized, special=special)])
        yield f"added-tokens-{['none', 'lowercase', 'accents'][0 if normalizer is None else 1 if isinstance(normalizer, n.Lowercase) else 2]}", t

    def post(name, processor, cut=None):
        t = probed(None, p.Whitespace())
        t.add_special_tokens(["[CLS]", "[SEP]", "<s>", "</s>"])
        t.post_processor = processor
        if cut:
            t.enable_truncation(*cut[0], **cut[1])
        return "post-" + name, t

    cls, sep = ("[CLS]", 256), ("[SEP]", 257)
    template = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", [cls, sep])
    doubled = processors.TemplateProcessing("[CLS] $A $A:1 [SEP] [SEP]", "$A $B", [cls, sep])
    yield post("BertProcessing", processors.BertProcessing(sep, cls))
    yield post("RobertaProcessing", processors.RobertaProcessing(sep, cls))
    yield post("ByteLevel", processors.ByteLevel())
    yield post("Template", template)
    yield post("Template-doubled", doubled)
    yield post("Sequence", processors.Sequence([processors.ByteLevel(), template, processors.BertProcessing(("</s>", 259), ("<s>", 258))]))
    yield post("Sequence-templates", processors.Sequence([processors.TemplateProcessing("$A [SEP]", "$A $B", [sep]), processors.TemplateProcessing("$A", "$B $A [CLS]", [cls])]))
    yield post("truncation-right", template, ((12,), {}))
    yield post("truncation-left", template, ((9,), {"direction": "left", "stride": 2}))
    yield post("truncation-only-first", template, ((20,), {"strategy": "only_first"}))


def decoding():
    """Decoders by themselves: ids of odd tokens in any order."""
    d = decoders
    odd = ["▁a", "▁▁", "a▁b", "##b", "b##", "c</w>", "</w>", "<pad>", "|", "a|b", "<0x41>", "<0xE2>", "<0x96>", "<0x81>", "<0xff>", "<0x+F>", "<0xZZ>", "<0x4>", " ", "  x ", "n't", " .", "' ", " ' ", "'s", "do", "not",
           "Ġhello", "Ċ", "âĸ", "ģ", "é", "\u0101", "日", "_x_", "xxay", "xyx", ".", ",", "?", "!", "'re", "aa", ""]
    every = {
        "none": None, "ByteLevel": d.ByteLevel(), "Metaspace": d.Metaspace(), "Metaspace-never": d.Metaspace("▁", "never"), "WordPiece": d.WordPiece(), "WordPiece-plain": d.WordPiece("##", False),
        "BPEDecoder": d.BPEDecoder(), "CTC": d.CTC(), "CTC-plain": d.CTC("a", " ", False), "ByteFallback": d.ByteFallback(), "Fuse": d.Fuse(), "Strip": d.Sequence([d.Fuse(), d.Strip("x", 2, 0)]),
        "Replace": d.Replace(Regex(r"[▁ ]+|(?=b)"), "·"), "Replace-text": d.Replace("a", "<>"),
        "Sequence": d.Sequence([d.Replace("▁", " "), d.ByteFallback(), d.Fuse(), d.Strip(" ", 1, 0)]),
    }
    for name, decoder in every.items():
        t = Tokenizer(models.WordLevel({token: i for i, token in enumerate(odd)}, unk_token="a▁b"))
        t.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        if decoder:
            t.decoder = decoder
        yield "decoder-" + name, t


def synthetic(charsmap=None):
    for group in (stages(charsmap), trained_models(), special_cases(), decoding()):
        yield from group
