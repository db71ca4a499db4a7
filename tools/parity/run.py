"""Holds graft against the reference stack and prints one table: ./dev parity [--write] [PART...], or run.py GRAFT [--write] [PART...].

Parts run side by side, each in a process of its own. The last line counts cases; the exit code is 1 when one failed. --write puts the table into
docs/parity.md, which only a run of all parts may do.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from common import SHARED, Graft, needs_shared

# Part: (title, module). The longest come first, so that none is left alone at the end.
PARTS = {
    "adapters": ("Adapters", "adapters"),
    "adapter_files": ("Adapters", "adapter_files"),
    "families": ("Families", "families"),
    "training": ("Training", "training"),
    "real": ("Real files", "real"),
    "tokenizers": ("Tokenizers", "tokenization"),
    "chat": ("Chat templates", "chat"),
}
HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "parity.md"
BEGIN, END = "<!-- begin: written by ./dev parity --write -->", "<!-- end -->"


# --- One part, in its own process -------------------------------------------------------------------------------------
def load_module(name):
    """By path: `adapters` is also the name of a package."""
    spec = importlib.util.spec_from_file_location(f"parity_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run_part(part, binary, out):
    try:
        rows = load_module(PARTS[part][1]).run(Graft(binary))
    except Exception as error:  # noqa: BLE001: a part that breaks is a failure of the table, and the other parts go on
        if not SHARED.exists() and str(SHARED) in str(getattr(error, "filename", "")):
            rows = needs_shared(part)
        else:
            rows = [{"name": f"{part} broke", "cases": 1, "mismatches": 1, "worst": None, "notes": traceback.format_exc().splitlines()[-6:]}]
    Path(out).write_text(json.dumps(rows))


def start_part(part, binary):
    """Rows of one part, and its seconds. The folder of the scripts comes last on the path: one of them is called like a package."""
    with tempfile.TemporaryDirectory() as folder:
        out, start = Path(folder) / "rows.json", time.monotonic()
        code = f"import sys; sys.path.append({str(HERE)!r}); import run; run.run_part({part!r}, {binary!r}, {str(out)!r})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        seconds = time.monotonic() - start
        if out.exists():
            return part, json.loads(out.read_text()), seconds
        notes = done.stderr.splitlines()[-6:]
        return part, [{"name": f"{part} broke", "cases": 1, "mismatches": 1, "worst": None, "notes": notes}], seconds


# --- The table --------------------------------------------------------------------------------------------------------
def cells(title, row):
    worst = row["worst"]
    shown = "" if worst is None else worst if isinstance(worst, str) else f"{worst:.1e}"
    verdict = "FAIL" if row["mismatches"] else "pass" if row["cases"] else "skipped"
    return [title, row["name"], str(row["cases"]), str(row["mismatches"]), shown, verdict]


HEAD = ["part", "check", "cases", "mismatches", "worst difference", "result"]


def markdown(table):
    return "\n".join("| " + " | ".join(line) + " |" for line in [HEAD, ["---"] * len(HEAD), *table])


def aligned(table):
    widths = [max(len(line[i]) for line in [HEAD, *table]) for i in range(len(HEAD))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in [HEAD, *table])


def versions():
    """What the figures hold for."""
    from importlib.metadata import version

    names = ["torch", "transformers", "peft", "tokenizers", "safetensors", "sentencepiece", "gguf", "jinja2"]
    lines = [f"{name} {version(name)}" for name in names]
    other = os.environ.get("GRAFT_ADAPTERHUB_PYTHON")
    if other:
        code = "from importlib.metadata import version as v; print(f\"adapters {v('adapters')} with transformers {v('transformers')}\")"
        lines.append(subprocess.run([other, "-c", code], check=True, capture_output=True, text=True).stdout.strip())
    return "Python " + sys.version.split()[0] + ", " + ", ".join(lines)


def write_page(table):
    text = PAGE.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    PAGE.write_text(f"{before}{BEGIN}\n\n{versions()}; every comparison in float32 on a CPU.\n\n{markdown(table)}\n\n{after}", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graft")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--write", action="store_true", help="write the table into docs/parity.md")
    options = parser.parse_args()
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown or (options.write and options.parts):
        parser.error(f"no part is called {unknown[0]}: known are {', '.join(PARTS)}" if unknown else "--write needs a run of all parts")
    print(versions(), flush=True)
    chosen = [part for part in PARTS if not options.parts or part in options.parts]
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 2))) as pool:
        done = {}
        for future in as_completed([pool.submit(start_part, part, options.graft) for part in chosen]):
            part, rows, seconds = future.result()
            print(f"== {part}: {seconds:.0f} s", flush=True)
            done[part] = [(PARTS[part][0], row) for row in rows]
    results = [row for part in chosen for row in done[part]]
    table = [cells(title, row) for title, row in results]
    print(aligned(table))
    for line, (_, row) in zip(table, results):  # behind the table, where whoever has the log's end alone sees them
        if row["mismatches"] or not row["cases"]:
            print("\n".join([f"-- {', '.join(cell for cell in line if cell)}", *(f"   {str(note)[:500]}" for note in row.get("notes", [])[:20])]))
    failed = sum(row["mismatches"] for _, row in results)
    if options.write and not failed:
        write_page(table)
    print(f"{sum(row['cases'] for _, row in results) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
