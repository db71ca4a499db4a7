"""The variants of every model family that families.py tries: options of the configs of transformers, at sizes that make each of them matter.

A Case changes the family's tiny base configuration by `options`. `length` is the length of the text, which is longer than any window and any
`original_max_position_embeddings` unless the case says otherwise. `inert` marks options that change nothing in transformers either, or the same thing
under another name: for all others families.py makes sure that the option does show.
"""

import re
from dataclasses import dataclass, field

from common import TINY, TINY_GPT2


@dataclass
class Case:
    name: str
    options: dict = field(default_factory=dict)
    length: int = 40
    inert: bool = False


def rope(theta=1000.0, **parameters):
    return {"rope_parameters": {"rope_theta": theta, "rope_type": "default", **parameters}}


def longrope(pairs, **parameters):
    return rope(rope_type="longrope", original_max_position_embeddings=16, short_factor=[1 + 0.1 * i for i in range(pairs)],
                long_factor=[2 + 0.5 * i for i in range(pairs)], **parameters)


def rope_cases(pairs=8, **extra):
    """Every kind of rotary scaling; `pairs` is the number of rotated pairs of a head, `extra` stands in every rope_parameters."""
    made = [
        Case("rope_theta", rope(500.0)),
        Case("rope_linear", rope(rope_type="linear", factor=2.5)),
        Case("rope_dynamic", {**rope(rope_type="dynamic", factor=2.0), "max_position_embeddings": 16}),
        Case("rope_dynamic_short", {**rope(rope_type="dynamic", factor=2.0), "max_position_embeddings": 64}, inert=True),
        Case("rope_llama3", rope(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)),
        Case("rope_yarn", rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)),
        Case("rope_yarn_options", rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=24, beta_fast=8.0, beta_slow=0.5, attention_factor=1.3)),
        Case("rope_yarn_mscale", rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, mscale=0.7, mscale_all_dim=1.2)),
        Case("rope_yarn_truncate", rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, truncate=False)),
        Case("rope_longrope", longrope(pairs, factor=4.0)),
        Case("rope_longrope_short", longrope(pairs, factor=4.0), length=14),
        Case("rope_longrope_attention", longrope(pairs, factor=4.0, attention_factor=1.2)),
        Case("rope_longrope_factor", longrope(pairs)),
    ]
    for case in made:
        case.options["rope_parameters"].update(extra)
    return made


def without(base, *keys):
    return {key: value for key, value in base.items() if key not in keys}


TIED, UNTIED = Case("tied", {"tie_word_embeddings": True}, inert=True), Case("untied", {"tie_word_embeddings": False})
ALL_HEADS, ONE_HEAD = Case("all_heads", {"num_key_value_heads": 4}), Case("one_kv_head", {"num_key_value_heads": 1})
HEAD_DIM = Case("head_dim", {"head_dim": 24})
GROUPS = [ALL_HEADS, ONE_HEAD]
ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "quick_gelu", "relu", "relu2", "tanh")
SAME = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")  # three names of one function, and the default of some families


def activations(key, *names):
    return [Case(f"act_{name}", {key: name}, inert=name in SAME) for name in (names or ACTIVATIONS)]


def rms_eps(key="rms_norm_eps"):
    return Case("norm_eps", {key: 0.05})


GEMMA = {**TINY, "head_dim": 16}
SLIDING = {"sliding_window": 8}
MIXED = ["sliding_attention", "full_attention", "sliding_attention"]
GEMMA3_ROPE = {"sliding_attention": {"rope_type": "default", "rope_theta": 100.0}, "full_attention": {"rope_type": "default", "rope_theta": 5000.0}}


def gemma3_rope(name, **parameters):
    return Case(name, {"rope_parameters": {**GEMMA3_ROPE, "full_attention": {"rope_theta": 5000.0, **parameters}}})


def falcon(name, **options):
    return Case(name, {**{"new_decoder_architecture": False, "multi_query": True, "parallel_attn": True, "bias": False, "alibi": False}, **options})


# family: (base options, cases)
FAMILIES = {
    "llama": (TINY, [Case("plain"), TIED, *GROUPS, HEAD_DIM, rms_eps(), Case("attention_bias", {"attention_bias": True}), Case("mlp_bias", {"mlp_bias": True}),
                     Case("pretraining_tp", {"pretraining_tp": 2}, inert=True), *activations("hidden_act"), *rope_cases()]),
    "mistral": ({**TINY, "sliding_window": None}, [Case("plain"), Case("window", SLIDING), Case("window_one", {"sliding_window": 1}),
                                                  Case("window_longer_than_text", {"sliding_window": 60}, inert=True), TIED, *GROUPS, HEAD_DIM, rms_eps(),
                                                  *activations("hidden_act", "gelu"), *rope_cases()]),
    "qwen2": (TINY, [Case("plain"), TIED, *GROUPS, rms_eps(), Case("window", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
                     Case("window_off", {"use_sliding_window": False, "sliding_window": 8}, inert=True),
                     Case("layer_types", {"use_sliding_window": True, "sliding_window": 8, "layer_types": MIXED}),
                     *activations("hidden_act", "gelu"), *rope_cases()]),
    "qwen3": ({**TINY, "head_dim": 16}, [Case("plain"), TIED, *GROUPS, HEAD_DIM, rms_eps(), Case("attention_bias", {"attention_bias": True}),
                                         Case("window", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
                                         Case("layer_types", {"use_sliding_window": True, **SLIDING, "layer_types": MIXED}), *activations("hidden_act", "gelu"), *rope_cases()]),
    "smollm3": ({**TINY, "num_hidden_layers": 4}, [Case("plain"), UNTIED, *GROUPS, rms_eps(), Case("attention_bias", {"attention_bias": True}),
                                                   Case("mlp_bias", {"mlp_bias": True}), Case("no_rope_layers", {"no_rope_layers": [0, 1, 1, 0]}),
                                                   Case("no_rope_layer_interval", {"no_rope_layer_interval": 2}),
                                                   Case("window", {"use_sliding_window": True, "sliding_window": 8}),
                                                   Case("layer_types", {"use_sliding_window": True, **SLIDING, "layer_types": [*MIXED, "sliding_attention"]}),
                                                   *activations("hidden_act", "gelu"), *rope_cases()]),
    "gemma": (GEMMA, [Case("plain"), UNTIED, *GROUPS, HEAD_DIM, rms_eps(), Case("attention_bias", {"attention_bias": True}), Case("act_gelu", {"hidden_act": "gelu"}, inert=True),
                      *activations("hidden_act", "silu"), *rope_cases()]),
    "gemma2": ({**GEMMA, **SLIDING, "query_pre_attn_scalar": 16, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
               [Case("plain"), UNTIED, *GROUPS, HEAD_DIM, rms_eps(), Case("attention_bias", {"attention_bias": True}), Case("scalar", {"query_pre_attn_scalar": 40}),
                Case("caps", {"attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0}), Case("no_attention_cap", {"attn_logit_softcapping": None}),
                Case("no_final_cap", {"final_logit_softcapping": None}), Case("layer_types", {"layer_types": ["full_attention", "full_attention", "sliding_attention"]}),
                *activations("hidden_activation", "gelu"), *rope_cases()]),
    "gemma3_text": ({**GEMMA, **SLIDING, "query_pre_attn_scalar": 16, "rope_parameters": GEMMA3_ROPE, "layer_types": MIXED},
                    [Case("plain"), UNTIED, *GROUPS, HEAD_DIM, rms_eps(), Case("attention_bias", {"attention_bias": True}), Case("scalar", {"query_pre_attn_scalar": 40}),
                     Case("layer_types", {"layer_types": ["full_attention", "full_attention", "sliding_attention"]}),
                     Case("final_cap", {"final_logit_softcapping": 2.0}), Case("attention_cap", {"attn_logit_softcapping": 1.5}, inert=True),
                     gemma3_rope("rope_linear", rope_type="linear", factor=8.0),
                     gemma3_rope("rope_llama3", rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16),
                     gemma3_rope("rope_yarn", rope_type="yarn", factor=4.0, original_max_position_embeddings=16), *activations("hidden_activation", "gelu")]),
    "phi": (TINY, [Case("plain"), TIED, *GROUPS, rms_eps("layer_norm_eps"), Case("qk_layernorm", {"qk_layernorm": True}),
                   Case("partial_quarter", rope(partial_rotary_factor=0.25)), Case("partial_whole", rope(partial_rotary_factor=1.0)),
                   *activations("hidden_act", "gelu", "relu"), *rope_cases(4, partial_rotary_factor=0.5)]),
    "phi3": ({**TINY, "original_max_position_embeddings": 16, "sliding_window": None},
             [Case("plain"), TIED, *GROUPS, rms_eps(), Case("window", SLIDING), Case("partial", rope(partial_rotary_factor=0.75)), *activations("hidden_act", "gelu"),
              *[case for case in rope_cases() if "longrope" in case.name or case.name == "rope_theta"],
              Case("rope_longrope_partial", longrope(6, partial_rotary_factor=0.75))]),
    "gpt2": (TINY_GPT2, [Case("plain"), UNTIED, Case("n_inner", {"n_inner": 80}), rms_eps("layer_norm_epsilon"), Case("unscaled", {"scale_attn_weights": False}),
                         Case("inverse_layer", {"scale_attn_by_inverse_layer_idx": True}), Case("upcast", {"reorder_and_upcast_attn": True}, inert=True),
                         Case("upcast_inverse_layer", {"reorder_and_upcast_attn": True, "scale_attn_by_inverse_layer_idx": True}),
                         *activations("activation_function", "gelu", "relu", "silu", "tanh", "gelu_pytorch_tanh", "gelu_fast")]),
    "gpt_neox": (without(TINY, "num_key_value_heads"),
                 [Case("plain"), TIED, rms_eps("layer_norm_eps"), Case("serial", {"use_parallel_residual": False}), Case("no_attention_bias", {"attention_bias": False}),
                  Case("is_decoder", {"is_decoder": True}, inert=True), Case("partial_whole", rope(partial_rotary_factor=1.0)), Case("partial_half", rope(partial_rotary_factor=0.5)),
                  *activations("hidden_act", "gelu_new", "gelu_fast", "relu"), *rope_cases(2, partial_rotary_factor=0.25)]),
    "opt": ({**without(TINY, "intermediate_size", "num_key_value_heads"), "ffn_dim": 96, "word_embed_proj_dim": 64, "pad_token_id": 1},
            [Case("plain"), UNTIED, Case("post_norm", {"do_layer_norm_before": False}), Case("embedding_projection", {"word_embed_proj_dim": 32}),
             Case("post_norm_projection", {"do_layer_norm_before": False, "word_embed_proj_dim": 32}), Case("no_bias", {"enable_bias": False}),
             Case("plain_norms", {"layer_norm_elementwise_affine": False}), Case("no_final_norm", {"_remove_final_layer_norm": True}),
             *activations("activation_function", "gelu", "silu")]),
    "olmo2": (TINY, [Case("plain"), TIED, *GROUPS, rms_eps(), Case("attention_bias", {"attention_bias": True}), *activations("hidden_act", "gelu"), *rope_cases()]),
    "granite": ({**TINY, "attention_multiplier": 0.25},
                [Case("plain"), TIED, *GROUPS, rms_eps(), Case("attention_bias", {"attention_bias": True}), Case("mlp_bias", {"mlp_bias": True}),
                 Case("multipliers", {"embedding_multiplier": 3.0, "logits_scaling": 2.5, "residual_multiplier": 0.4, "attention_multiplier": 0.1}),
                 *activations("hidden_act", "gelu"), *rope_cases()]),
    "stablelm": (TINY, [Case("plain"), TIED, *GROUPS, rms_eps("layer_norm_eps"), Case("qkv_bias", {"use_qkv_bias": True}), Case("qk_layernorm", {"qk_layernorm": True}),
                        Case("parallel", {"use_parallel_residual": True}), Case("partial_half", rope(partial_rotary_factor=0.5)),
                        *activations("hidden_act", "gelu"), *rope_cases(2, partial_rotary_factor=0.25)]),
    "falcon": ({**without(TINY, "intermediate_size", "num_key_value_heads"), "ffn_hidden_size": 96, "new_decoder_architecture": False, "multi_query": True,
                "parallel_attn": True, "bias": False, "alibi": False},
               [Case("plain"), UNTIED, rms_eps("layer_norm_epsilon"), Case("bias", {"bias": True}), Case("all_heads", {"multi_query": False}),
                Case("serial", {"parallel_attn": False}), Case("new_decoder", {"new_decoder_architecture": True, "num_kv_heads": 2}),
                Case("new_decoder_one_norm", {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1}),
                Case("alibi", {"alibi": True}), Case("alibi_new_decoder", {"alibi": True, "new_decoder_architecture": True, "num_kv_heads": 2}),
                Case("rw_1b", {"alibi": True, "multi_query": False, "parallel_attn": False, "bias": True}), *activations("activation", "relu", "silu"), *rope_cases()]),
    "bloom": (dict(vocab_size=97, hidden_size=64, n_layer=3, n_head=4, bos_token_id=1, eos_token_id=2),
              [Case("plain"), UNTIED, rms_eps("layer_norm_epsilon"), Case("residual_after_norm", {"apply_residual_connection_post_layernorm": True}),
               Case("six_heads", {"hidden_size": 48, "n_head": 6}), Case("pretraining_tp", {"pretraining_tp": 2}, inert=True),
               Case("slow_but_exact", {"slow_but_exact": True}, inert=True)]),
    "starcoder2": ({**TINY, "sliding_window": None}, [Case("plain"), UNTIED, *GROUPS, rms_eps("norm_epsilon"), Case("no_bias", {"use_bias": False}), Case("window", SLIDING),
                                                     *activations("hidden_act", "gelu", "silu"), *rope_cases()]),
    "cohere": ({**TINY, "logit_scale": 0.25}, [Case("plain"), UNTIED, *GROUPS, rms_eps("layer_norm_eps"), Case("attention_bias", {"attention_bias": True}),
                                               Case("qk_norm", {"use_qk_norm": True}), Case("logit_scale", {"logit_scale": 0.0625}),
                                               *activations("hidden_act", "gelu"), *rope_cases()]),
}

# Keys of configs that have no part in the logits of a text: training, initialisation, other heads, book-keeping.
BESIDE_THE_POINT = re.compile(r"_name_or_path|architectures|.*dropout|.*pdrop|layerdrop|chunk_size_feed_forward|dtype|id2label|label2id|initializer_range|init_std|"
                              r"is_encoder_decoder|model_type|output_.*|problem_type|return_dict|summary_.*|transformers_version|use_cache|pad_token_id|"
                              r"_sliding_window_pattern")

# What graft must refuse, with exit code 3 and a message that holds the word: (family, options, word).
REFUSED = [
    ("llama", {"hidden_act": "softmax_of_nothing"}, "hidden_act"),
    ("llama", {"rope_parameters": {"rope_type": "spiral", "rope_theta": 1e4}}, "spiral"),
    ("llama", {"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantization_config"),
    ("llama", {"num_key_value_heads": 3}, "num_key_value_heads"),
    ("llama", {"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 16, "short_factor": [1.0], "long_factor": [1.0]}}, "_factor"),
    ("gpt2", {"add_cross_attention": True}, "add_cross_attention"),
    ("gpt2", {"activation_function": "unheard_of"}, "activation_function"),
    ("gemma", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ("gemma3_text", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ("qwen2", {"layer_types": ["full_attention", "chunked_attention", "full_attention"]}, "layer_types"),
    ("gemma2", {"layer_types": ["full_attention"]}, "layer_types"),
    ("smollm3", {"no_rope_layers": [1]}, "no_rope_layers"),
    ("mistral", {"sliding_window": -1}, "sliding_window"),
    ("phi3", {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                  "original_max_position_embeddings": 16}}, "rope"),
    ("unheard_of", {}, "unheard_of"),
]
