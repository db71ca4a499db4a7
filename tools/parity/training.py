"""Training parity: from the same adapter tensors and the same rows, 20 AdamW steps of graft give the losses of a plain PyTorch loop around PEFT's or
AdapterHub's modules within 1e-3 of their value, for every method, on llama and gpt2."""

import json
import sys
from pathlib import Path

from common import Folder, Graft, Row, adapterhub_result, adapterhub_work, as_text, in_parallel, some_ids, tiny_model, write_letter_tokenizer  # first: it quietens transformers

import torch
from peft import (AdaLoraConfig, AdaptionPromptConfig, CPTConfig, IA3Config, LNTuningConfig, LoraConfig, MontecloraConfig, OSFConfig, PrefixTuningConfig,
                  PromptEncoderConfig, PromptTuningConfig, SupertuningConfig, VeloraConfig, get_peft_model)
from safetensors.torch import save_file

from reference_loop import SETTINGS, load_rows, padded, train

BOUND = 1e-3  # largest difference of a loss, relative to the reference's
VOCAB, BOS, EOS = 61, 1, 2
INVOCATION = 37  # what wakes an activated LoRA: half of the rows hold it

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


def cpt(_, **options):
    return CPTConfig(task_type="CAUSAL_LM", cpt_token_ids=[5, 9, 2, 7, 3, 8, 6], cpt_mask=[1] * 7, opt_projection_epsilon=6.0, opt_projection_format_epsilon=3.0, **options)


VIRTUAL = dict(task_type="CAUSAL_LM", num_virtual_tokens=5)
# method: (PEFT's configuration, learning rate); those of ADAPTERHUB and full have none.
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
    "llama_adapter": (lambda _: AdaptionPromptConfig(task_type="CAUSAL_LM", adapter_len=5, adapter_layers=2), 5e-2),
    "cpt": (lambda family: cpt(family, cpt_tokens_type_mask=[1, 2, 3, 1, 2, 3, 1]), 5e-2),
    "cpt+answers": (lambda family: cpt(family, cpt_tokens_type_mask=[1, 2, 4, 5, 6, 8, 8], opt_weighted_loss_type="decay", opt_loss_decay_factor=0.5), 5e-2),
    "houlsby": (None, 1e-2),
    "compacter": (None, 3e-2),
    "compacterpp": (None, 3e-2),
    "adapterdrop": (None, 1e-2),
    "adapterplus": (None, 1e-2),
    "loreft": (None, 3e-2),
    "noreft": (None, 3e-2),
    "direft": (None, 3e-2),
    "loreft+suffix": (None, 3e-2),
    "mam": (None, 1e-2),
    "unipelt": (None, 1e-2),
}
# method: AdapterHub's preset and its options
ADAPTERHUB = {
    "houlsby": ("double_seq_bn", dict(reduction_factor=4)),
    "compacter": ("compacter", dict(reduction_factor=4)),
    "compacterpp": ("compacter++", dict(reduction_factor=2, phm_dim=2, phm_rank=3)),
    "adapterdrop": ("seq_bn", dict(reduction_factor=4, leave_out=[0])),
    "adapterplus": ("adapterplus", dict(reduction_factor=4)),
    "loreft": ("loreft", dict(r=3, dropout=0.0)),
    "noreft": ("noreft", dict(r=3, dropout=0.0, non_linearity="relu")),
    "direft": ("direft", dict(r=3, dropout=0.0)),
    "loreft+suffix": ("loreft", dict(r=3, dropout=0.0, suffix_positions=4, layers=[1])),
    "mam": ("mam", dict(prefix=dict(prefix_length=5, bottleneck_size=24), adapter=dict(reduction_factor=4))),
    "unipelt": ("unipelt", dict(prefix=dict(prefix_length=5, bottleneck_size=24), adapter=dict(reduction_factor=4), lora=dict(r=3))),
}
# AdapterHub knows no prompts: rows of which all is learned; and its gates see padding, so that each row stands by itself there.
WHOLE_ROWS, ROWS_ALONE = ("loreft+suffix", "unipelt"), ("unipelt",)
NOT_CONV1D = ("supertuning", "osf")  # PEFT does not adapt gpt2's modules
# Those whose file lacks what trains them.
WITH_ENCODER = ("prefix_tuning+projection", "p_tuning")


def fits(family, method):
    return family != "gpt2" or method not in NOT_CONV1D


# --- What both sides start from ---------------------------------------------------------------------------------------
def write_rows(family, folder):
    """16 rows of unequal lengths: rows.json as ids for the reference, rows.jsonl as text for graft; and whole.json, whole.jsonl without prompts."""
    rows, lines, whole, whole_lines = [], [], [], []
    for i in range(16):
        ids = some_ids(VOCAB, 12 + (7 * i) % 17, seed=100 + i)
        prompt = 2 + (3 * i) % 8
        lines.append(json.dumps({"prompt": as_text(ids[:prompt]), "completion": as_text(ids[prompt:])}, ensure_ascii=False))
        whole_lines.append(json.dumps({"text": as_text(ids)}, ensure_ascii=False))
        front = [BOS] if family == "llama" else []
        rows.append({"ids": [*front, *ids, EOS], "prompt": len(front) + prompt})
        whole.append({"ids": [*front, *ids, EOS], "prompt": 0})
    for name, theirs, ours in (("rows", rows, lines), ("whole", whole, whole_lines)):
        (folder / f"{name}.json").write_text(json.dumps(theirs) + "\n")
        (folder / f"{name}.jsonl").write_text("\n".join(ours) + "\n", encoding="utf-8")


def rows_of(method, folder, ending):
    return folder / (("whole" if method in WHOLE_ROWS else "rows") + ending)


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


def with_answers(model, rows):
    """CPT's loss as PEFT computes it: answers in the prompt, the row's own labels, and their weights."""
    ids, mask, labels = padded(rows)
    answers = sum(kind % 4 == 0 for kind in model.peft_config["default"].cpt_tokens_type_mask[1:])
    return model(input_ids=ids, attention_mask=mask, labels=labels).loss * ((labels != -100).sum() + len(rows) * answers)


def peft_reference(family, method, folder):
    """Writes what graft starts from into folder/<method> and returns the reference's losses."""
    make, learning_rate = METHODS[method]
    target, rows = folder / method, load_rows(rows_of(method, folder, ".json"))
    if method == "full":
        return train(base_model(folder), rows, learning_rate)
    torch.manual_seed(5)
    model = get_peft_model(base_model(folder), make(family))
    if method not in WITH_ENCODER:
        perturbed(model)
    model.save_pretrained(target)
    if method in WITH_ENCODER:
        save_file(encoder_state(model), target / "encoder.safetensors")
    if method == "adalora":
        return train(model, rows, learning_rate, orthogonality(model, model.peft_config["default"]), model.base_model.update_and_allocate)
    if method == "cpt+answers":
        return train(model, rows, learning_rate, trained_sum=with_answers)
    return train(model, rows, learning_rate)


def references(family, methods, folder):
    """The same for several methods, AdapterHub's together: {method: losses}."""
    jobs = {}
    for method in (method for method in methods if method in ADAPTERHUB):
        config, options = ADAPTERHUB[method]
        size = 1 if method in ROWS_ALONE else SETTINGS["batch_size"]
        jobs[method] = {"base": str(folder / "model"), "config": config, "options": options, "name": "default", "made": str(folder / method), "out": str(folder / f"{method}.losses"),
                        "rows": str(rows_of(method, folder, ".json")), "learning_rate": METHODS[method][1], "batch_size": size,
                        "grad_accum": SETTINGS["batch_size"] * SETTINGS["grad_accum"] // size}
    if jobs:
        adapterhub_work("train", list(jobs.values()), folder)
    return {method: json.loads(Path(adapterhub_result(jobs[method])).read_text()) if method in jobs else peft_reference(family, method, folder) for method in methods}


# --- graft ------------------------------------------------------------------------------------------------------------
def start_from_encoder(target, out):
    """A checkpoint of step 0 in graft's output folder: an adapter's file holds the encoder's output only, a checkpoint all of it."""
    checkpoint = out / "checkpoint-0"
    checkpoint.mkdir(parents=True)
    (target / "encoder.safetensors").rename(checkpoint / "trainer_state.safetensors")
    (checkpoint / "trainer_state.json").write_text(json.dumps({"step": 0, "steps": SETTINGS["steps"], "seed": 0}))


def graft_losses(graft, method, folder):
    target, out = folder / method, folder / f"{method} out"
    words = ["train", "--model", folder / "model", "--data", rows_of(method, folder, ".jsonl"), "--out", out, "--order", "sequential", "--steps", SETTINGS["steps"],
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
            expected = references(family, chosen, folder)
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
