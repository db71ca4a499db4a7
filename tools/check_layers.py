#!/usr/bin/env python3
"""Checks the order of the layers: a folder of src/ includes only folders that stand before it in LAYERS.

Usage: check_layers.py [SOURCE_FOLDER]. Prints each offending include as file:line and exits 1 if there is any.
"""

import pathlib
import re
import sys

# Low to high, as in CMakeLists.txt.
LAYERS = (
    "core kernels sites model methods adapter tokenizer chat data optim train eval compare embedded cli launcher".split()
)

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
SUFFIXES = {".h", ".cpp", ".cu", ".cuh", ".inc"}


def problems_in(path, layer, rank):
    """Yields (line number, text) for every include of `path`, a file of `layer`, that breaks the rule."""
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        target = match.group(1)
        folder = target.split("/")[0]
        if folder not in rank:
            yield number, f'"{target}" names no layer: write the path from src/, as in "core/check.h"'
        elif rank[folder] > rank[layer]:
            yield number, f'{layer} must not include "{target}": {folder} stands above {layer}'


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent / "src"
    rank = {layer: i for i, layer in enumerate(LAYERS)}
    count, files = 0, 0
    for path in sorted(p for p in root.rglob("*") if p.suffix in SUFFIXES):
        layer = path.relative_to(root).parts[0]
        if layer not in rank:
            print(f"{path}: the folder {layer} is no layer; add it to LAYERS where it belongs")
            count += 1
            continue
        files += 1
        for number, text in problems_in(path, layer, rank):
            print(f"{path}:{number}: {text}")
            count += 1
    if files == 0:
        print(f"{root} holds no sources")
        return 1
    print(f"layers: {files} files, {count} problem{'' if count == 1 else 's'}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
