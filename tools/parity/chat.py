"""Chat templates: graft's renderings and token ids against transformers' apply_chat_template.

`run(graft)` returns rows {"name", "cases", "mismatches", "worst"}; `graft` is the command's path, or a callable that takes its arguments
and returns what it printed. Alone: python tools/parity/chat.py build/release/graft
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("GRAFT_SHARED", ROOT.parent / "shared/data"))
if not (SHARED / "chat_templates").exists() and (SHARED / "data").exists():
    SHARED = SHARED / "data"

TOOLS = [{"type": "function", "function": {"name": "weather", "description": "The <weather> & 'more'", "parameters": {
    "type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer"}}, "required": ["place"]}}}]
CALLS = [[{"role": "user", "content": "Weather in Köln?"},
          {"role": "assistant", "content": None, "tool_calls": [{"id": "abcdefghi", "type": "function", "function": {"name": "weather", "arguments": {"place": "Köln", "days": 2}}}]},
          {"role": "tool", "content": "rain", "tool_call_id": "abcdefghi"}, {"role": "assistant", "content": "It rains."}, {"role": "user", "content": "Thanks"}]]


def golden_module():
    spec = importlib.util.spec_from_file_location("golden_chat", ROOT / "tools/golden/chat.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(graft, *arguments):
    if callable(graft):
        return graft(*arguments)
    return subprocess.run([str(graft), *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def rendered_by_graft(graft, rows, model=None):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        model_flags = ["--model", str(model)] if model else []
        out = call(graft, "chat", "--render", str(file), *model_flags)
    return [json.loads(line) for line in out.rstrip("\n").split("\n")]


def row_of(name, expected, got, keys=("text",)):
    notes = []
    for i, (e, g) in enumerate(zip(expected, got)):
        wrong = "error" in g if "error" not in e else "error" not in g
        if wrong or ("error" not in e and any(e[key] != g.get(key) for key in keys)):
            notes.append(f"case {i}: expected {str(e)[:200]}, got {str(g)[:200]}")
    missing = abs(len(expected) - len(got))
    return {"name": name, "cases": len(expected), "mismatches": len(notes) + missing, "worst": None, "notes": notes[:5]}


def applied(tokenizer, messages, **options):
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, **options)
        ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)["input_ids"]
        return {"text": text, "ids": list(ids)}
    except Exception as e:  # the template's own refusals, and Python's
        return {"error": str(e)}


def run(graft):
    from transformers import AutoTokenizer

    golden = golden_module()
    table = []
    snippets = golden.cases()
    expected = [golden.rendered(template, json.loads(json.dumps(golden.VARIABLES))) for template in snippets]
    snippets, expected = zip(*[(t, e) for t, e in zip(snippets, expected) if "skip" not in e])
    variables = {key: value for key, value in golden.VARIABLES.items() if key not in ("messages", "tools", "add_generation_prompt")}
    rows = [{"template": t, "messages": golden.VARIABLES["messages"], "tools": golden.VARIABLES["tools"], "add_generation_prompt": True, "variables": variables} for t in snippets]
    table.append(row_of("chat templates: snippets", expected, rendered_by_graft(graft, rows)))

    model = SHARED / "tokenizers/minimind"
    tokenizer = AutoTokenizer.from_pretrained(model)
    conversations = json.loads((SHARED / "chat_templates/conversations.json").read_text(encoding="utf-8")) + CALLS
    for file in sorted((SHARED / "chat_templates").glob("*.jinja")):
        template = file.read_bytes().decode("utf-8")
        rows, expected = [], []
        for messages in conversations:
            for tools in (None, TOOLS):
                for prompt in (False, True):
                    rows.append({"template": template, "messages": messages, "tools": tools, "add_generation_prompt": prompt})
                    expected.append(applied(tokenizer, messages, chat_template=template, tools=tools, add_generation_prompt=prompt))
        table.append(row_of(f"chat templates: {file.stem}", expected, rendered_by_graft(graft, rows, model), ("text", "ids")))
    return table


if __name__ == "__main__":
    failed = 0
    for line in run(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/release/graft"):
        failed += line["mismatches"] > 0
        print(f"{line['name']}: {line['cases']} cases, {line['mismatches']} mismatches")
        for note in line["notes"]:
            print("   ", note)
    sys.exit(failed > 0)
