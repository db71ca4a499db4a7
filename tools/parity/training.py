"""Training parity: from the same adapter tensors and the same rows, 20 AdamW steps of graft give the losses of a plain PyTorch loop around PEFT's or
AdapterHub's modules within 1e-3 of their value, for every method, on llama and gpt2."""

import json
import subprocess
import sys
from pathlib import Path

from common import Folder, Graft, Row, adapterhub_python, as_text, in_parallel, some_ids, tiny_model, write_letter_tokenizer  # first: it quietens transformers

import torch
from peft import (AdaLoraConfig, IA3Config, LNTuningConfig, LoraConfig, MontecloraConfig, OSFConfig, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig,
                  SupertuningConfig, VeloraConfig, get_peft_model)
from safetensors.torch import save_file

from reference_loop import SETTINGS, load_rows, train

BOUND = 1e-3  # largest difference of a loss, relative to the reference's
VOCAB, BOS, EOS = 61, 1, 2
INVOCATION = 37  # what wakes an activated LoRA: half of the rows hold it
REDUCTION = 4.0

MODELS = {
    "llama": dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                  max_position_embeddings=64, bos_token_id=BOS, eos_token_id=EOS),
    "gpt2": dict(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=BOS, eos_token_id=EOS),
}
LOW_RANK = {"llama": ["q_proj", "v_proj", "down_proj"], "gpt2": ["c_attn", "mlp.c_proj"]}


def lora(family, **options):
    return LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=LOW_RANK[family], init_lora_weights=False, **options)


def adalora(family):
    return AdaLoraConfig(task_type="CAUSAL_LM", init_r=6, target_r=3, lora_alpha=8, tinit=3, tfinal=5, deltaT=2, total_step=SETTINGS["steps"],
                         target_modules=LOW_RANK[family])


def ia3(family):
    feed_forward = {"llama": ["down_proj"], "gpt2": ["mlp.c_proj"]}[family]
    attention = {"llama": ["k_proj", "v_proj"], "gpt2": ["c_attn"]}[family]
    return IA3Config(task_type="CAUSAL_LM", target_modules=attention + feed_forward, feedforward_modules=feed_forward)


VIRTUAL = dict(task_type="CAUSAL_LM", num_virtual_tokens=5)
# method: (PEFT's configuration, learning rate); full and houlsby have none. `encoder` marks those whose file lacks what trains them.
METHODS = {
    "full": (None, 3e-3),
    "lora": (lora, 2e-2),
    "dora": (lambda family: lora(family, use_dora=True), 2e-2),
    "velora": (lambda family: lora(family, velora_config=VeloraConfig(num_groups=5, scale=1.5, init_type="random")), 2e-2),
    "alora": (lambda family: lora(family, alora_invocation_tokens=[INVOCATION]), 2e-2),
    "monteclora": (lambda family: lora(family, monteclora_config=MontecloraConfig(sample_scaler=0.0)), 2e-2),
    "supertuning": (lambda family: SupertuningConfig(task_type="CAUSAL_LM", sparsity=0.8, r=3, target_modules=LOW_RANK[family]), 2e-2),
    "osf": (lambda family: OSFConfig(task_type="CAUSAL_LM", effective_rank=0.6, target_modules=LOW_RANK[family]), 2e-3),
    "adalora": (adalora, 2e-2),
    "ia3": (ia3, 5e-2),
    "prefix_tuning": (lambda _: PrefixTuningConfig(**VIRTUAL), 5e-2),
    "prefix_tuning+projection": (lambda _: PrefixTuningConfig(**VIRTUAL, prefix_projection=True, encoder_hidden_size=24), 1e-2),
    "prompt_tuning": (lambda _: PromptTuningConfig(**VIRTUAL), 5e-2),
    "p_tuning": (lambda _: PromptEncoderConfig(**VIRTUAL, encoder_hidden_size=24), 1e-2),
    "ln_tuning": (lambda _: LNTuningConfig(task_type="CAUSAL_LM"), 3e-2),
    "houlsby": (None, 1e-2),
}
NOT_CONV1D = ("supertuning", "osf")  # PEFT does not adapt gpt2's modules
WITH_ENCODER = ("prefix_tuning+projection", "p_tuning")


def fits(family, method):
    return family != "gpt2" or method not in NOT_CONV1D


# --- What both sides start from ---------------------------------------------------------------------------------------
def write_rows(family, folder):
    """16 rows of unequal lengths: rows.json as ids for the reference, rows.jsonl as text for graft."""
    rows, lines = [], []
    for i in range(16):
        ids = some_ids(VOCAB, 12 + (7 * i) % 17, seed=100 + i)
        prompt = 2 + (3 * i) % 8
        lines.append(json.dumps({"prompt": as_text(ids[:prompt]), "completion": as_text(ids[prompt:])}, ensure_ascii=False))
        front = [BOS] if family == "llama" else []
        rows.append({"ids": [*front, *ids, EOS], "prompt": len(front) + prompt})
    (folder / "rows.json").write_text(json.dumps(rows) + "\n")
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_model(family, folder):
    model = tiny_model(family, seed=11, **MODELS[family])
    # Values that bfloat16 holds, too: the files stay small where they are checked in.
    model.to(torch.bfloat16).save_pretrained(folder / "model")
    write_letter_tokenizer(folder / "model", VOCAB, bos=BOS if family == "llama" else None, eos=EOS)
    write_rows(family, folder)


def base_model(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32, attn_implementation="eager")


def perturbed(model, seed=7):
    """Initial values away from the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (tensor for tensor in model.parameters() if tensor.requires_grad):
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return model


# --- The reference ----------------------------------------------------------------------------------------------------
def orthogonality(model, config):
    """AdaLoRA's extra term: orth_reg_weight times the mean of ‖P Pᵀ − I‖ over all A and B."""

    def term():
        norms = []
        for name, tensor in model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                gram = tensor @ tensor.T if "lora_A" in name else tensor.T @ tensor
                norms.append(torch.linalg.norm(gram - torch.eye(gram.shape[0])))
        return config.orth_reg_weight * torch.stack(norms).mean()

    return term


def encoder_state(model):
    """The tensors of a prompt encoder under their names in the module, with AdamW's moments at zero: a checkpoint before the first step."""
    state = {}
    for name, tensor in model.prompt_encoder["default"].named_parameters():
        full = f"prompt_encoder.{name}"
        state[f"param.{full}"] = tensor.detach().clone()
        state[f"first.{full}"] = torch.zeros_like(tensor)
        state[f"second.{full}"] = torch.zeros_like(tensor)
        state[f"steps.{full}"] = torch.zeros(())
    return state


def reference(family, method, folder):
    """Writes what graft starts from into folder/<method> and returns the reference's losses."""
    make, learning_rate = METHODS[method]
    target, rows = folder / method, load_rows(folder / "rows.json")
    if method == "full":
        return train(base_model(folder), rows, learning_rate)
    if method == "houlsby":
        command = [adapterhub_python(), str(Path(__file__).with_name("reference_loop.py")), folder / "model", target, folder / "rows.json", learning_rate, REDUCTION]
        return json.loads(subprocess.run([*map(str, command)], check=True, capture_output=True, text=True).stdout)
    torch.manual_seed(5)
    model = get_peft_model(base_model(folder), make(family))
    if method not in WITH_ENCODER:
        perturbed(model)
    model.save_pretrained(target)
    if method in WITH_ENCODER:
        save_file(encoder_state(model), target / "encoder.safetensors")
    if method == "adalora":
        return train(model, rows, learning_rate, orthogonality(model, model.peft_config["default"]), model.base_model.update_and_allocate)
    return train(model, rows, learning_rate)


# --- graft ------------------------------------------------------------------------------------------------------------
def start_from_encoder(target, out):
    """A checkpoint of step 0 in graft's output folder: an adapter's file holds the encoder's output only, a checkpoint all of it."""
    checkpoint = out / "checkpoint-0"
    checkpoint.mkdir(parents=True)
    (target / "encoder.safetensors").rename(checkpoint / "trainer_state.safetensors")
    (checkpoint / "trainer_state.json").write_text(json.dumps({"step": 0, "steps": SETTINGS["steps"], "seed": 0}))


def graft_losses(graft, method, folder):
    target, out = folder / method, folder / f"{method} out"
    words = ["train", "--model", folder / "model", "--data", folder / "rows.jsonl", "--out", out, "--order", "sequential", "--steps", SETTINGS["steps"],
             "--batch-size", SETTINGS["batch_size"], "--grad-accum", SETTINGS["grad_accum"], "--lr", METHODS[method][1], "--warmup", SETTINGS["warmup"],
             "--weight-decay", SETTINGS["weight_decay"], "--clip", SETTINGS["clip"], "--schedule", "linear", "--dtype", "float32", "--threads", "1"]
    if method == "full":
        words += ["--method", "full"]
    else:
        words += ["--method-config", target / "adapter_config.json"]
        if method in WITH_ENCODER:
            start_from_encoder(target, out)
            words += ["--resume"]
        else:
            words += ["--init-adapter", target]
    graft(*words)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "step" in row]


def relative_difference(ours, theirs):
    if len(ours) != len(theirs):
        return float("inf")
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs))


def learns(losses):
    """Whether the last pass over the rows went better than the first one: four steps each."""
    return sum(losses[-4:]) < 0.97 * sum(losses[:4])


def run(graft, only=()):
    rows = {method: Row(f"20 steps of {method}", BOUND) for method in METHODS if not only or method in only}
    with Folder() as top:
        for family in MODELS:
            folder = top / family
            folder.mkdir()
            write_model(family, folder)
            chosen = [method for method in rows if fits(family, method)]
            expected = {method: reference(family, method, folder) for method in chosen}
            outcomes = in_parallel(lambda method: graft_losses(graft, method, folder), chosen)  # noqa: B023
            for method, ours in zip(chosen, outcomes):
                row = rows[method]
                row.check(learns(expected[method]), f"{family}: the reference learns nothing: {expected[method]}")
                if isinstance(ours, Exception):
                    row.check(False, f"{family}: {ours}")
                else:
                    row.difference(relative_difference(ours, expected[method]), family)
    return [row.done() for row in rows.values()]


if __name__ == "__main__":
    for result in run(Graft(sys.argv[1]), sys.argv[2:]):
        print({key: value for key, value in result.items() if key != "notes"})
        for note in result["notes"]:
            print("   ", note[:600])
