"""What the parity scripts share: calling graft, tiny random models, comparing, and the rows of the table.

A script has `run(graft)`, which returns rows {"name", "cases", "mismatches", "worst"}: `worst` is the largest difference that was seen (None where
equality is all or nothing), `mismatches` counts cases that went beyond their bound; "notes" may list what went wrong.
"""

import json
import math
import os
import shutil
import subprocess
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Before torch and transformers are imported: everything here is tiny, so one thread, and cases side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

warnings.filterwarnings("ignore", category=FutureWarning)
warnings.filterwarnings("ignore", category=UserWarning, module="peft")

SHARED = Path(os.environ.get("GRAFT_SHARED", Path(__file__).resolve().parents[3] / "shared"))
LOGPROB_BOUND = 2e-4  # largest difference of a log-probability between two float32 programs


class GraftError(Exception):
    """graft ended with another exit code than 0; the text is what it wrote to stderr."""

    def __init__(self, code, text):
        super().__init__(f"exit code {code}: {text.strip()}")
        self.code, self.text = code, text


class Graft:
    """The command. Every method raises GraftError when graft fails."""

    def __init__(self, binary):
        self.binary = str(binary)

    def __call__(self, *arguments):
        words = [self.binary, *map(str, arguments)]
        # Stand-ins for CUDA's libraries are for Python's torch alone.
        environment = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
        done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=900)
        if done.returncode != 0:
            raise GraftError(done.returncode, done.stderr)
        return done.stdout

    def score(self, model, ids, adapter=None, **flags):
        """Log-probabilities of the given ids from the second on."""
        words = ["score", "--model", model, "--ids", ",".join(map(str, ids)), "--json", "--threads", "1"]
        for one in adapter if isinstance(adapter, list) else [adapter] if adapter else []:
            words += ["--adapter", one]
        for key, value in flags.items():
            words += [f"--{key}", value]
        return json.loads(self(*words))["logprobs"][1:]

    def logits(self, model, ids, adapter=None, **flags):
        """The logits [tokens, vocabulary] behind every given id."""
        from safetensors.torch import load_file

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "logits.safetensors"
            self.score(model, ids, adapter, logits=file, **flags)
            return load_file(file)["logits"]

    def generate(self, model, prompt, tokens, adapter=None):
        """Ids of a greedy continuation."""
        words = ["generate", "--model", model, "--prompt", prompt, "--max-new-tokens", tokens, "--json", "--threads", "1"]
        if adapter:
            words += ["--adapter", adapter]
        return json.loads(self(*words))["ids"]


# --- Rows of the table ------------------------------------------------------------------------------------------------
class Row:
    """One row of the table under construction."""

    def __init__(self, name, bound=LOGPROB_BOUND):
        self.name, self.bound = name, bound
        self.cases, self.mismatches, self.worst, self.notes = 0, 0, None, []

    def difference(self, value, what=""):
        """A case that holds when `value` is within the bound."""
        self.cases += 1
        value = float(value)
        if math.isnan(value):
            value = math.inf
        self.worst = value if self.worst is None else max(self.worst, value)
        if not value <= self.bound:
            self._fail(f"{what}: {value:.3g}")

    def check(self, holds, what=""):
        """A case that holds or does not."""
        self.cases += 1
        if not holds:
            self._fail(what)

    def _fail(self, note):
        self.mismatches += 1
        self.notes.append(f"{self.name}: {note}")

    def done(self):
        return {"name": self.name, "cases": self.cases, "mismatches": self.mismatches, "worst": self.worst, "notes": self.notes}


def needs_shared(name):
    """Rows for a check that cannot run because the shared data are absent; where GRAFT_REQUIRE_SHARED is set that is a failure."""
    required = bool(os.environ.get("GRAFT_REQUIRE_SHARED"))
    return [{"name": name, "cases": int(required), "mismatches": int(required), "worst": None, "notes": [f"the shared data are not at {SHARED}"]}]


def guarded(function):
    """The function with an exception as its result: any failure of a case is a mismatch of that case, not the end of the run."""

    def call(item):
        try:
            return function(item)
        except Exception as error:  # noqa: BLE001
            return error

    return call


def in_parallel(function, items):
    """guarded(function)(item) for every item, as many at a time as there are cores; results in order. For calls of graft only: transformers and PEFT are
    not safe for threads (loading a model replaces torch's initialisers for the whole process, and tied weights stay unset)."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(guarded(function), items))


def in_turn(function, items):
    """The same one after the other, for work that the reference has a part in."""
    return [guarded(function)(item) for item in items]


def largest_difference(ours, theirs):
    """Largest absolute difference of two sequences of numbers or two tensors; infinite where the shapes differ."""
    import torch

    ours, theirs = torch.as_tensor(ours, dtype=torch.float64), torch.as_tensor(theirs, dtype=torch.float64)
    if ours.shape != theirs.shape:
        return math.inf
    return (ours - theirs).abs().max().item() if ours.numel() else 0.0


def adapterhub_python():
    """The python of the environment that holds AdapterHub's library, which wants another transformers; ./dev parity sets it."""
    named = os.environ.get("GRAFT_ADAPTERHUB_PYTHON")
    if not named:
        raise RuntimeError("GRAFT_ADAPTERHUB_PYTHON must name the python of the environment with AdapterHub's library; ./dev parity sets it")
    return named


def adapterhub_work(command, jobs, folder):
    """Runs adapterhub_worker.py, which says what jobs are."""
    file = Path(folder) / f"{command}.json"
    file.write_text(json.dumps(jobs))
    environment = dict(os.environ, HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
    worker = Path(__file__).with_name("adapterhub_worker.py")
    subprocess.run([adapterhub_python(), str(worker), command, str(file)], check=True, env=environment, timeout=1200)


def adapterhub_result(job):
    """The file that a job wrote; its failure as an exception."""
    error = Path(job["out"] + ".error")
    if error.exists():
        raise AssertionError(error.read_text().strip().splitlines()[-1])
    return job["out"]


# --- Tiny random models -----------------------------------------------------------------------------------------------
def randomize(model, seed=0):
    """Random values in every tensor, norms and biases too, at a scale where a mistake shows: activations stay near 1, attention is uneven."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    gain = 0.0 if model.config.model_type.startswith("gemma") else 1.0  # gemma stores what is added to 1
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            if tensor.dim() < 2:
                tensor.copy_(0.2 * noise + (gain if name.endswith("weight") else 0.0))
            elif any(word in name for word in ("embed", "wte", "wpe", "embd")):
                tensor.copy_(0.5 * noise)  # tied heads too: logits stay small enough for float32 to settle 1e-5
            elif "norm" in name:  # norms with a gain per head
                tensor.copy_(gain + 0.2 * noise)
            else:
                columns = tensor.shape[0] if conv1d(model, name) else tensor.shape[1]
                tensor.copy_(noise * (1.5 / math.sqrt(columns)))
    return model.eval()


def conv1d(model, name):
    """Whether the parameter belongs to a Conv1D, which stores [in, out]."""
    return type(model.get_submodule(name.rpartition(".")[0])).__name__ == "Conv1D"


def tiny_model(model_type, seed=0, **options):
    """A random model of the type, in evaluation mode."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(model_type, **options)
    return randomize(AutoModelForCausalLM.from_config(config, attn_implementation=attention(model_type)), seed)


def attention(model_type):
    """Eager attention, which knows every option; but falcon's counts alibi twice (docs/parity.md)."""
    return "sdpa" if model_type == "falcon" else "eager"


TINY = dict(vocab_size=97, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=None)
TINY_GPT2 = dict(vocab_size=97, n_embd=64, n_layer=3, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2)


def tiny_llama(seed=0, **options):
    return tiny_model("llama", seed, **{**TINY, **options})


def tiny_gpt2(seed=0, **options):
    return tiny_model("gpt2", seed, **{**TINY_GPT2, **options})


def load_reference(folder):
    """The model in the folder as transformers reads it, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    chosen = attention(read_json(Path(folder) / "config.json")["model_type"])
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=chosen).eval()


def some_ids(vocab_size, length, seed=1):
    import torch

    return torch.randint(3, vocab_size, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def logprobs(logits, ids):
    """Log-probability of every id but the first, from logits [tokens, vocabulary] of those ids."""
    import torch

    logs = torch.log_softmax(torch.as_tensor(logits).double()[:-1], dim=-1)
    return logs.gather(1, torch.tensor(ids[1:]).unsqueeze(1)).squeeze(1)


def reference_logits(model, ids):
    """Logits [tokens, vocabulary]; virtual tokens in front, if any, are cut off."""
    import torch

    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0, -len(ids):].float()


# --- A tokenizer for models without one -------------------------------------------------------------------------------
def letter(token_id):
    return chr(0x4E00 + token_id)


def write_letter_tokenizer(folder, vocab_size, bos=None, eos=None):
    """tokenizer.json in which token i is one character: any list of ids can be given as text. `bos` is put in front, `eos` ends completions."""
    special = [token for token in (bos, eos) if token is not None]
    added = [{"id": token, "content": letter(token), "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for token in sorted(special)]
    first = [] if bos is None else [{"SpecialToken": {"id": letter(bos), "type_id": 0}}]
    known = {} if bos is None else {letter(bos): {"id": letter(bos), "ids": [bos], "tokens": [letter(bos)]}}
    processor = {"type": "TemplateProcessing", "single": [*first, {"Sequence": {"id": "A", "type_id": 0}}],
                 "pair": [*first, {"Sequence": {"id": "A", "type_id": 0}}, *first, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": known}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
             "byte_fallback": False, "ignore_merges": False, "vocab": {letter(i): i for i in range(vocab_size)}, "merges": []}
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None, "pre_tokenizer": None,
                 "post_processor": processor if first else None, "decoder": None, "model": model}
    names = {"bos_token": None if bos is None else letter(bos), "eos_token": None if eos is None else letter(eos)}
    folder = Path(folder)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names}), encoding="utf-8")


def as_text(ids):
    return "".join(map(letter, ids))


# --- Folders ----------------------------------------------------------------------------------------------------------
def read_json(file):
    return json.loads(Path(file).read_text(encoding="utf-8"))


def write_json(file, value):
    Path(file).write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


class Folder:
    """A temporary folder: `with Folder() as folder`. GRAFT_PARITY_KEEP=DIR keeps what was made there."""

    def __enter__(self):
        keep = os.environ.get("GRAFT_PARITY_KEEP")
        if keep:
            Path(keep).mkdir(parents=True, exist_ok=True)
        self.path = Path(tempfile.mkdtemp(prefix="graft-parity-", dir=keep))
        return self.path

    def __exit__(self, *_):
        if not os.environ.get("GRAFT_PARITY_KEEP"):
            shutil.rmtree(self.path, ignore_errors=True)
