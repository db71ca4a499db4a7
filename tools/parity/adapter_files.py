"""What becomes of adapters: conversions to other formats, training on from a file, combinations; run(graft) -> rows of the table."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import combinations  # noqa: E402
import conversions  # noqa: E402
import trained  # noqa: E402
from common import Folder  # noqa: E402
from run import load_module  # noqa: E402


def run(graft):
    with Folder() as folder:
        bases = load_module("adapters").make_bases(folder)
        return [row for part in (conversions, trained, combinations) for row in part.rows(graft, bases, folder)]
