"""Runs under a Python of its own, with AdapterHub's `adapters` and the transformers that it needs: adapterhub_worker.py make|load|train JOBS.json.

JOBS.json is a list of {"base", "config", "options", "made", "name", "out", ...}. `make` makes the adapter with random values, writes its folder as safetensors
and the logits of "ids" into `out`; `load` loads the folder "written" and writes its logits; `train` makes the adapter and its folder, trains it on "rows" with
"learning_rate" and "batch_size" rows at a time, and writes the losses of the steps. A job that fails leaves a file <out>.error.
"""

import json
import sys
import traceback
from pathlib import Path

import reference_loop

sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]  # a file here is named adapters.py

import logging  # noqa: E402

import adapters  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

torch.set_num_threads(1)


class Warnings(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


def base_model(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32, attn_implementation="eager").eval()
    adapters.init(model)
    return model


def write_logits(model, job):
    with torch.no_grad():
        save_file({"logits": model(input_ids=torch.tensor([job["ids"]])).logits[0].contiguous()}, job["out"])


def made_config(name, options):
    if name == "adapterplus":
        return adapters.AdapterPlusConfig(stochastic_depth=0.0, **options)
    if name not in ("mam", "unipelt"):
        return adapters.AdapterConfig.load(name, **options)
    prefix = adapters.PrefixTuningConfig(**options["prefix"])
    if name == "mam":
        return adapters.MAMConfig(prefix, adapters.ParBnConfig(**options["adapter"]))
    return adapters.UniPELTConfig(prefix, adapters.SeqBnConfig(**options["adapter"]), adapters.LoRAConfig(alpha=2, **options["lora"]))


def save(model, job):
    """As safetensors, with what the reference leaves out: tensors that it shares between layers, and what makes DiReFT of NoReFT."""
    folder = Path(job["made"])
    model.save_adapter(job["made"], job["name"], use_safetensors=job["config"] not in ("mam", "unipelt"))
    pickle = folder / "pytorch_adapter.bin"
    if pickle.exists():
        save_file({name: value.clone().contiguous() for name, value in torch.load(pickle, weights_only=True).items()}, folder / "adapter.safetensors", {"format": "pt"})
        pickle.unlink()
    if job["config"] == "direft":
        file = folder / "adapter_config.json"
        saved = json.loads(file.read_text())
        saved["config"]["subtract_projection"] = False
        file.write_text(json.dumps(saved))


def with_adapter(job):
    """The base with a new adapter of random values, which is saved too."""
    model = base_model(job["base"])
    torch.manual_seed(7)
    model.add_adapter(job["name"], config=made_config(job["config"], job["options"]))
    model.set_active_adapters(job["name"])
    generator = torch.Generator().manual_seed(len(job["name"]))
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if f".{job['name']}." in name:
                tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.1)
                if name.endswith("parametrizations.weight.original"):
                    tensor.diagonal().fill_(-1)  # signs, which the reference cuts to integers
    save(model, job)
    return model


def make(job):
    write_logits(with_adapter(job).eval(), job)


def train(job):
    model = with_adapter(job)
    model.train_adapter(job["name"])
    settings = {**reference_loop.SETTINGS, "batch_size": job["batch_size"], "grad_accum": job["grad_accum"]}
    losses = reference_loop.train(model, reference_loop.load_rows(job["rows"]), job["learning_rate"], settings=settings)
    Path(job["out"]).write_text(json.dumps(losses))


def load(job):
    model = base_model(job["base"])
    handler = Warnings()
    logging.getLogger("adapters").addHandler(handler)
    name = model.load_adapter(job["written"], use_safetensors=True, set_active=True)
    logging.getLogger("adapters").removeHandler(handler)
    bad = [text for text in handler.texts if "missing" in text.lower() or "could not be loaded" in text.lower() or "unexpected" in text.lower()]
    if bad:
        raise AssertionError("; ".join(bad))
    model.set_active_adapters(name)
    model.eval()
    write_logits(model, job)


for job in json.loads(Path(sys.argv[2]).read_text()):
    try:
        {"make": make, "load": load, "train": train}[sys.argv[1]](job)
    except Exception:  # noqa: BLE001: the job's failure is its result
        Path(job["out"] + ".error").write_text(traceback.format_exc())
