"""Every model family against transformers on tiny random models: log-probabilities for every option, greedy generation through the key/value cache, old and
new configs, half precision, shards, prefixes, extra tensors, and what must be refused."""

import copy
import sys

from common import (Folder, Graft, GraftError, Row, as_text, in_parallel, largest_difference, load_reference, logprobs, read_json, reference_logits, some_ids,
                    tiny_model, write_json, write_letter_tokenizer)  # first: it quietens transformers

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from family_cases import BESIDE_THE_POINT, FAMILIES, REFUSED

VOCAB = 97
PROMPT, NEW_TOKENS = 12, 24
SHOWS = 5e-4  # an option must move some log-probability by that much, or its case proves nothing
CLEAR = 1e-3  # lead of the likeliest token below which rounding may decide


def build(model_type, options, folder, seed=0, **saving):
    model = tiny_model(model_type, seed, **options)
    model.save_pretrained(folder, **saving)
    write_letter_tokenizer(folder, VOCAB)
    return model


# --- Options ----------------------------------------------------------------------------------------------------------
def moves(model, base, ids):
    """Whether the model differs from the base's configuration holding the same weights; true where the weights themselves have other shapes."""
    twin = copy.deepcopy(base)
    try:
        twin.load_state_dict(model.state_dict())
    except RuntimeError:
        return True
    return largest_difference(logprobs(reference_logits(twin, ids), ids), logprobs(reference_logits(model, ids), ids)) > SHOWS


def options_row(graft, model_type, folder):
    """One case for every variant; a variant whose option does not show in transformers counts as a mismatch of the test itself."""
    base_options, cases = FAMILIES[model_type]
    row, base = Row(f"{model_type}: options"), tiny_model(model_type, **base_options)
    row.check(not untried(model_type), f"no case tries {untried(model_type)}")
    expected = []
    for case in cases:
        ids = some_ids(VOCAB, case.length)
        model = build(model_type, {**base_options, **case.options}, folder / case.name)
        # Dynamic scaling leaves its frequencies in the module: the reference must not have seen a longer text.
        expected.append((case, ids, logprobs(reference_logits(model, ids), ids)))
        if case.name != "plain" and not case.inert and not moves(model, base, ids):
            row.check(False, f"{case.name}: the option does not show in transformers")
    scores = in_parallel(lambda item: graft.score(folder / item[0].name, item[1]), expected)
    for (case, _, theirs), ours in zip(expected, scores):
        if case.inert and refused_by_name(ours, case.options):
            row.check(True)
        else:
            record(row, case.name, ours, theirs)
    return row


def refused_by_name(outcome, options):
    """What transformers silently ignores may be an error that names the option."""
    return isinstance(outcome, GraftError) and outcome.code == 3 and any(key in outcome.text for key in options)


def untried(model_type):
    """Keys of the family's config that no case changes: each is a hole in this test."""
    base, cases = FAMILIES[model_type]
    tried = set(base).union(*(case.options for case in cases), *(options for family, options, _ in REFUSED if family == model_type))
    return sorted(key for key in set(AutoConfig.for_model(model_type).to_dict()) - tried if not BESIDE_THE_POINT.fullmatch(key))


def record(row, name, ours, theirs):
    if isinstance(ours, Exception):
        row.check(False, f"{name}: {ours}")
    else:
        row.difference(largest_difference(ours, theirs), name)


# --- Ways to store the same model -------------------------------------------------------------------------------------
def old_style(config):
    """The same config as transformers 4 wrote it."""
    config = dict(config)
    parameters = config.pop("rope_parameters", None)
    config["torch_dtype"] = config.pop("dtype", "float32")
    for key in ("layer_types", "transformers_version"):
        config.pop(key, None)
    if parameters is None:
        return config
    if "full_attention" in parameters:  # gemma3
        config["rope_local_base_freq"] = parameters["sliding_attention"]["rope_theta"]
        config["sliding_window_pattern"] = 2  # every second layer is global, as in MIXED
        parameters = parameters["full_attention"]
    parameters = dict(parameters)
    theta, partial, kind = parameters.pop("rope_theta"), parameters.pop("partial_rotary_factor", None), parameters.pop("rope_type", "default")
    if config["model_type"] == "gpt_neox":
        config["rotary_emb_base"], config["rotary_pct"] = theta, partial
    else:
        config["rope_theta"] = theta
        if partial is not None:
            config["partial_rotary_factor"] = partial
    # Gemma 3 came later than the key "type", and transformers overlooks that there.
    config["rope_scaling"] = None if kind == "default" else {"rope_type" if "rope_local_base_freq" in config else "type": kind, **parameters}
    return config


OLD_STYLE_CASES = {"phi3": "rope_longrope", "gemma3_text": "rope_linear"}  # others: rope_linear where the family has it, else plain


def stored_old(model_type, options, folder):
    case = OLD_STYLE_CASES.get(model_type, "rope_linear")
    extra = next((c.options for c in FAMILIES[model_type][1] if c.name == case), {})
    build(model_type, {**options, **extra}, folder)
    write_json(folder / "config.json", old_style(read_json(folder / "config.json")))


def stored_half(dtype):
    def store(model_type, options, folder):
        tiny_model(model_type, **options).to(dtype).save_pretrained(folder)

    return store


def stored_sharded(model_type, options, folder):
    build(model_type, options, folder, max_shard_size="60KB")
    assert (folder / "model.safetensors.index.json").exists(), "the model was not sharded"


def rewritten(change):
    def store(model_type, options, folder):
        build(model_type, options, folder)
        tensors = load_file(folder / "model.safetensors")
        save_file({name: tensor.contiguous() for name, tensor in change(model_type, tensors).items()}, folder / "model.safetensors", metadata={"format": "pt"})

    return store


def without_prefix(model_type, tensors):
    """As a bare base model saves itself: no "model." or "transformer." in front, no head (it is tied; phi's
    bias of the head stays)."""
    heads = ("lm_head.weight", "embed_out.weight")
    return {name if name == "lm_head.bias" else name.partition(".")[2]: tensor for name, tensor in tensors.items() if name not in heads}


def with_extra(model_type, tensors):
    """What old checkpoints carry besides: rotary frequencies, causal masks, a copy of the tied head, and a tensor that nobody knows."""
    extra = {"somebody.elses.weight": torch.ones(3)}
    layer = {"gpt2": "transformer.h.0.attn", "gpt_neox": "gpt_neox.layers.0.attention"}.get(model_type, "model.layers.0.self_attn")
    extra[f"{layer}.rotary_emb.inv_freq"] = torch.full((8,), 7.0)
    if model_type in ("gpt2", "gpt_neox"):
        extra[f"{layer}.bias"] = torch.ones(1, 1, 64, 64)
        extra[f"{layer}.masked_bias"] = torch.tensor(-1e9)
    return {**tensors, **extra}


STORAGE = {
    "old config": stored_old,
    "float16": stored_half(torch.float16),
    "bfloat16": stored_half(torch.bfloat16),
    "sharded": stored_sharded,
    "extra tensors": rewritten(with_extra),
    "no prefix": rewritten(without_prefix),
}


def storage_row(graft, model_type, folder):
    row, ids = Row(f"{model_type}: storage"), some_ids(VOCAB, 40)
    made = []
    for name, store in STORAGE.items():
        options = dict(FAMILIES[model_type][0])
        if name == "no prefix":
            options["tie_word_embeddings"] = True
        target = folder / f"stored {name}"
        store(model_type, options, target)
        made.append((name, target, logprobs(reference_logits(load_reference(target), ids), ids)))
    scores = in_parallel(lambda item: graft.score(item[1], ids, dtype="float32"), made)
    for (name, _, theirs), ours in zip(made, scores):
        record(row, name, ours, theirs)
    return row


# --- Generation -------------------------------------------------------------------------------------------------------
def generation_row(graft, model_type, folder):
    """Greedy continuation beyond every window: equal up to the first near-tie."""
    row, ids = Row(f"{model_type}: generation"), some_ids(VOCAB, PROMPT, seed=5)
    base, cases = FAMILIES[model_type]
    # In transformers the scaling of a dynamic rope depends on how long the text is when a key is stored: no greedy comparison there.
    names = [case.name for case in cases if case.name in ("plain", "window", "rope_yarn", "qk_norm", "alibi", "caps", "serial", "post_norm", "no_rope_layers")]
    models = [(name, load_reference(folder / name)) for name in names]
    expected = [continuation(model, ids) for _, model in models]
    outputs = in_parallel(lambda item: graft.generate(folder / item[0], as_text(ids), NEW_TOKENS), models)
    for (name, _), (theirs, whole), ours in zip(models, expected, outputs):
        same = not isinstance(ours, Exception) and (ours if whole else ours[: len(theirs)]) == theirs
        row.check(same, f"{name}: {ours} instead of {theirs}")
    return row


def continuation(model, ids):
    """Tokens of a greedy continuation without the end, and whether that is all of it; else it goes on with a near-tie, where rounding may decide."""
    done = model.generate(torch.tensor([ids]), max_new_tokens=NEW_TOKENS, do_sample=False, output_logits=True, return_dict_in_generate=True)
    tokens = done.sequences[0, len(ids):].tolist()
    for i, step in enumerate(done.logits):
        best = step[0].topk(2).values
        if best[0] - best[1] < CLEAR:
            return tokens[:i], False
    return [token for token in tokens if token != model.generation_config.eos_token_id], True


# --- Refusals ---------------------------------------------------------------------------------------------------------
def refusals_row(graft, folder):
    row = Row("options that must be refused")
    made = []
    for i, (model_type, options, word) in enumerate(REFUSED):
        target = folder / f"refused {i}"
        build("llama" if model_type not in FAMILIES else model_type, dict(FAMILIES.get(model_type, FAMILIES["llama"])[0]), target)
        write_json(target / "config.json", {**read_json(target / "config.json"), "model_type": model_type, **options})
        made.append((f"{model_type} {options}", target, word))
    outcomes = in_parallel(lambda item: graft.score(item[1], some_ids(VOCAB, 40)), made)
    for (name, _, word), outcome in zip(made, outcomes):
        row.check(isinstance(outcome, GraftError) and outcome.code == 3 and word in outcome.text, f"{name}: {outcome}")
    return row


def run(graft, only=()):
    """All families, or those named. A family that graft does not know gives one row that fails."""
    rows = []
    with Folder() as top:
        for model_type in FAMILIES:
            if only and model_type not in only:
                continue
            folder = top / model_type
            for part in (options_row, storage_row, generation_row):
                rows.append(part(graft, model_type, folder).done())
        if not only:
            rows.append(refusals_row(graft, top).done())
    return rows


if __name__ == "__main__":
    for result in run(Graft(sys.argv[1]), sys.argv[2:]):
        print({key: value for key, value in result.items() if key != "notes"})
        for note in result["notes"]:
            print("   ", note[:400])
