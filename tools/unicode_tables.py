"""Writes src/tokenizer/unicode_tables.cpp: what the `tokenizers` package believes about every code point.

That package mixes several versions of Unicode (one for each library inside it), and no system library has the same; so each table
is asked of the package itself, code point by code point. Usage: python3 tools/unicode_tables.py [OUTPUT]
"""
import sys

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co Cn".split()
CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def varint(number):
    """Five bits a character, the lowest first; the sixth says that more follow."""
    text = ""
    while True:
        number, low = number >> 5, number & 31
        text += DIGITS[low | (32 if number else 0)]
        if not number:
            return text


def ranges(codes):
    out = []
    for c in sorted(codes):
        if out and out[-1][1] == c:
            out[-1][1] = c + 1
        else:
            out.append([c, c + 1])
    return out


def encode_set(codes):
    text, last = "", 0
    for begin, end in ranges(codes):
        text += varint(begin - last) + varint(end - begin)
        last = end
    return text


def matched(pattern):
    """Code points that match one expression of Split."""
    stage = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    text = "".join(map(chr, CODES))
    found = set()
    for piece, _ in stage.pre_tokenize_str(text):
        found.update(map(ord, piece))
    return found


def isolated(stage, left="a"):
    """Code points that `stage` cuts off from a letter before them."""
    found = set()
    for c in CODES:
        if len(stage.pre_tokenize_str(left + chr(c))) == 2:
            found.add(c)
    return found


def words_and_spaces():
    stage, words, spaces = pre_tokenizers.Whitespace(), set(), set()
    for c in CODES:
        pieces = stage.pre_tokenize_str("a" + chr(c))
        if len(pieces) == 1:
            (words if len(pieces[0][0]) == 2 else spaces).add(c)
    return words, spaces


def removed(normalizer):
    return {c for c in CODES if normalizer.normalize_str("a" + chr(c) + "a") == "aa"}


def lowercase():
    """Simple mappings as runs of one stride and one difference: begin, count, stride, difference."""
    lower = normalizers.Lowercase()
    pairs = []
    for c in CODES:
        mapped = lower.normalize_str(chr(c))
        if mapped != chr(c) and c != 0x130:  # the one with two characters
            assert len(mapped) == 1, hex(c)
            pairs.append((c, ord(mapped) - c))
    runs = []
    for c, d in pairs:
        if runs:
            begin, count, stride, difference = runs[-1]
            gap = c - (begin + (count - 1) * stride)
            if d == difference and gap <= 2 and (count == 1 or gap == stride):
                runs[-1] = [begin, count + 1, gap, difference]
                continue
        runs.append([c, 1, 1, d])
    text, last = "", 0
    for begin, count, stride, difference in runs:
        text += varint(begin - last) + varint(count) + varint(stride) + varint(difference * 2 if difference >= 0 else -difference * 2 - 1)
        last = begin
    return text


def scripts():
    """Runs of code points of one script: gap, length, script. What is in no run is of any script."""
    stage = pre_tokenizers.UnicodeScripts()
    same = lambda a, b: len(stage.pre_tokenize_str(chr(a) + chr(b))) == 1
    runs, kinds = [], []
    for c in CODES:
        if not stage.pre_tokenize_str(chr(c)):
            continue
        if runs and c == runs[-1][1] and same(runs[-1][0], c):
            runs[-1][1] = c + 1
            continue
        kind = next((i for i, k in enumerate(kinds) if same(k, c)), len(kinds))
        if kind == len(kinds):
            kinds.append(c)
        runs.append([c, c + 1, kind])
    text, last = "", 0
    for begin, end, kind in runs:
        text += varint(begin - last) + varint(end - begin) + varint(kind)
        last = end
    return text, len(kinds)


def categories():
    of = {}
    for i, name in enumerate(CATEGORIES):
        for c in matched(r"\p{%s}" % name):
            of[c] = i
    text, begin, current = "", 0, None
    for c in range(0x110001):
        kind = of.get(c, len(CATEGORIES) - 1) if c < 0x110000 else None
        if kind != current:
            if current is not None:
                text += varint(c - begin) + varint(current)
            begin, current = c, kind
    return text


def inert():
    """Code points that no normalization form touches, though a later Unicode gives them a decomposition or a class."""
    import unicodedata
    known = set()
    for c in CODES:
        s = chr(c)
        if unicodedata.category(s) == "Cn":
            known.add(c)
            continue
        # A mark of class 230 behind one of class 220 must stay; before it is moved: tell the class by what happens around it.
        probes = [s, "a\u0301" + s, "a" + s + "\u0334", "a\u0345" + s]
        for name, form in (("NFKD", normalizers.NFKD()), ("NFD", normalizers.NFD())):
            if any(form.normalize_str(p) != unicodedata.normalize(name, p) for p in probes):
                known.add(c)
                break
    return known


def literal(name, text, comment):
    width = 124
    lines = [text[i:i + width] for i in range(0, len(text), width)]
    return f"// {comment}\nconst char* const {name} =\n" + "\n".join(f'    "{line}"' for line in lines) + ";\n"


def main():
    output = sys.argv[1] if len(sys.argv) > 1 else "src/tokenizer/unicode_tables.cpp"
    words, spaces = words_and_spaces()
    script_text, script_count = scripts()
    bert = normalizers.BertNormalizer
    parts = [
        literal("kCategoryRuns", categories(), "Runs of general categories of regular expressions (Split, Replace): length, category."),
        literal("kWordSet", encode_set(words), r"\w of Whitespace and of single words."),
        literal("kWhitespaceSet", encode_set(spaces), "White space, the same everywhere."),
        literal("kRegexWordSet", encode_set(matched(r"\w")), r"\w of Split and Replace."),
        literal("kNumericSet", encode_set(isolated(pre_tokenizers.Digits(individual_digits=True))), "Digits."),
        literal("kPunctuationSet", encode_set(isolated(pre_tokenizers.Punctuation())), "Punctuation and BertPreTokenizer."),
        literal("kAccentSet", encode_set(removed(normalizers.StripAccents())), "StripAccents."),
        literal("kBertAccentSet", encode_set(removed(bert(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False))),
                "BertNormalizer, strip_accents."),
        literal("kBertControlSet", encode_set(removed(bert(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False))),
                "BertNormalizer, clean_text."),
        literal("kInertSet", encode_set(inert()), "Left alone by NFC, NFD, NFKC and NFKD: unassigned there."),
        literal("kLowercaseRuns", lowercase(), "Lowercase: begin, count, stride, signed difference."),
        literal("kScriptRuns", script_text, f"UnicodeScripts: gap, length, script; the rest is of any script. {script_count} scripts."),
    ]
    with open(output, "w", encoding="utf-8") as out:
        out.write(f"// Written by tools/unicode_tables.py from tokenizers {tokenizers.__version__}; do not edit. See there for the encoding.\n"
                  '#include "tokenizer/unicode_tables.h"\n\nnamespace graft::unicode_tables {\n\n// clang-format off\n')
        out.write("\n".join(parts))
        out.write("// clang-format on\n\n}  // namespace graft::unicode_tables\n")


if __name__ == "__main__":
    main()
