"""Texts to try tokenizers with: difficult ones by hand, and random ones of every kind."""
import random
import unicodedata

BY_HAND = [
    "", " ", "  ", "\n", "\t \n", "Hello world", " Hello  world ", "Hello, y'all! How are you 😁 ?", "It's I'LL we've 'S 'ſ 're'RE don't ' s",
    "1234567 12 345,678.90 ½ ⅷ ² ٣٤ १२३ 十二", "a\r\nb\r\n\r\n  c\n \n\t\n d", "   leading\u00a0no-break\u2003em\u3000ideographic  ",
    "naïve café cafe\u0301 Å A\u030a ｆｕｌｌ ﬁ ㎏ İstanbul ſ ΑΣΣ ẞß Ǆ",
    "日本語のテキスト。東京タワー、ラーメン 中文文本 한국어 텍스트 ไทย हिन्दी العربية עברית Ελληνικά Русский",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪 ☺️ ✋🏿", "e\u0301\u0327\u0323 q\u0307\u0323 a\u0315\u0300\u05ae\u0062 \u1100\u1161\u11a8 각",
    "def f(x):\n\treturn x**2  # square\nfor (int i = 0; i < n; ++i) { a[i] = b->c; }", "http://example.com/a?b=c&d=%20e user@mail.org #tag @name",
    "<s>hello</s> <unk> <|endoftext|> [CLS] [SEP] [MASK] <pad> <|im_start|>user\nhi<|im_end|>", "<0x41><0x0A> ▁a ▁▁b Ġx ĊĊ ##ing </w>",
    "\u0000\u0001\u001f\u007f\u0085\u200b\u200d\u2028\u2029\ufeff\ufffd\ue000\U000f0000\U0010ffff", "x" * 150, "ab " * 40, "\u0378\u0530\U0001fbfa\U000323b0 unassigned",
    "hello.world ! do not 's 've n't ' m , ? tokens-with-dashes_and_underscores", "aaa bbb AAA Bbb aAbB", "_ __ ___a_b 3d x2 ٠a",
]

BLOCKS = [(0x20, 0x7E)] * 8 + [(0xA0, 0x24F)] * 2 + [
    (0x250, 0x36F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0xDFF), (0xE00, 0xEFF), (0x1000, 0x11FF), (0x1200, 0x1CFF), (0x1D00, 0x1FFF),
    (0x2000, 0x206F), (0x2070, 0x2BFF), (0x2E80, 0x30FF), (0x3100, 0x33FF), (0x4E00, 0x9FFF), (0xA000, 0xABFF), (0xAC00, 0xD7A3), (0xE000, 0xF8FF), (0xF900, 0xFFFF),
    (0x10000, 0x107FF), (0x10800, 0x12000), (0x16000, 0x1BCFF), (0x1D000, 0x1D7FF), (0x1E000, 0x1EFFF), (0x1F000, 0x1FBFF), (0x20000, 0x323AF), (0xE0000, 0xE01EF), (0x0, 0x10FFFF),
]
SPACES = list(" \t\n\r\v\f\x85\xa0\u1680\u2000\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000\u200b\ufeff\u180e") + ["  ", "   ", "\r\n", "\n\n", " \n", "\n ", "\t\t"]
MARKS = [chr(c) for c in range(0x300, 0x370)] + list("\u05b0\u064b\u093c\u0e38\u20d0\u3099\ufe0f\ufe20\u200d\u200c\U0001d165\u1dfa\u0898\U0001e130")
EMOJI = list("😀👍🏽👩💻🔥❤🏳🌈🇩🇪🇺🇸☺✋🏿🧑🚀") + ["\u200d", "\ufe0f", "👩‍💻", "1️⃣"]
LOOK_ALIKES = ["<s>", "</s>", "<unk>", "<pad>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "<mask>", "<extra_id_0>", "<|begin_of_text|>", "<s", "|>",
               "<0x0A>", "<0xFF>", "▁", "▁▁", "Ġ", "##", "</w>", "tok", " tok ", "TOK", "Tok", "ｔｏｋ", "été", "one two"]
WORDS = "the quick brown fox jumps over a lazy dog don't I'll WE'RE it's hello world token tokens tokenizer unhappiness running 12 2024 3.14 x86_64 foo_bar fooBar kHz".split()
CODE = ["    ", "\t", "{\n", "}\n", "()", ";", "->", "==", "//", "/*", "*/", "def ", "return ", "0x1F", "a[i]", "\\n", "#include <a>", "\"s\"", "'c'", "&&", "<div>"]


def character(rng):
    low, high = rng.choice(BLOCKS)
    code = rng.randint(low, high)
    return "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)


def part(rng):
    kind = rng.random()
    if kind < 0.30:
        return rng.choice(WORDS)
    if kind < 0.45:
        return "".join(character(rng) for _ in range(rng.randint(1, 8)))
    if kind < 0.50:
        low, high = rng.choice(BLOCKS)
        return "".join(c for c in (chr(rng.randint(low, high)) for _ in range(rng.randint(1, 6))) if not 0xD800 <= ord(c) < 0xE000)
    if kind < 0.62:
        return rng.choice(SPACES)
    if kind < 0.70:
        return rng.choice("aeiouAEnoqж가かक🙂 1") + "".join(rng.choice(MARKS) for _ in range(rng.randint(1, 3)))
    if kind < 0.77:
        return "".join(rng.choice(EMOJI) for _ in range(rng.randint(1, 4)))
    if kind < 0.87:
        return rng.choice(LOOK_ALIKES)
    if kind < 0.95:
        return rng.choice(CODE)
    text = rng.choice(["é", "Å", "ﬁ", "한글", "İ", "ﷺ", "Ǆ", "①", "𝒳"])
    return unicodedata.normalize(rng.choice(["NFC", "NFD", "NFKC", "NFKD"]), text)


def random_text(rng):
    space = rng.choice(["", " ", " ", rng.choice(SPACES)])
    return space.join(part(rng) for _ in range(rng.randint(1, 14)))


def texts(seed, count):
    rng = random.Random(seed)
    return BY_HAND + [random_text(rng) for _ in range(count)]
