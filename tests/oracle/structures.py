"""What models consist of by transformers itself: names and shapes, as saved and as held.

    python structures.py OUT.json.gz

{case: {"config": ..., "saved": {name: shape}, "held": {name: shape}}} of tiny models of the architectures whose
parameters are stated in configs/, with every switch of their configurations that adds or takes away parameters. Tied
parameters stand in "held" by both names. tests/fixtures/structures.json.gz is this file for the versions in
requirements.txt; the test of the stated parameters reads it, and with --oracle compares it with a new one.
"""

import gzip
import json
import pathlib
import sys
import tempfile

from safetensors import safe_open
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from reference import SIZES

SMALL = {
    **SIZES, "num_hidden_layers": 2, "n_positions": 40, "n_embd": 32, "n_layer": 2, "n_head": 4, "ffn_dim": 24,
    "word_embed_proj_dim": 32, "num_kv_heads": 2, "ffn_hidden_size": 24,
}
UNTIED, TIED = {"tie_word_embeddings": False}, {"tie_word_embeddings": True}
BIASES = {"attention_bias": True}
WIDE_HEADS = {"head_dim": 12}
CASES = {
    "llama": [{}, TIED, BIASES, {"mlp_bias": True}, WIDE_HEADS, {"num_key_value_heads": 4}],
    "mistral": [{}, TIED, WIDE_HEADS],
    "qwen2": [{}, TIED],
    "qwen3": [{}, TIED, BIASES, WIDE_HEADS],
    "gemma": [{}, UNTIED, BIASES],
    "gemma2": [{}, UNTIED, BIASES],
    "gemma3_text": [{}, UNTIED, BIASES],
    "mixtral": [{}, TIED, WIDE_HEADS],
    "qwen2_moe": [{}, TIED, {"qkv_bias": False}, {"decoder_sparse_step": 2}],
    "qwen3_moe": [{}, TIED, BIASES, WIDE_HEADS, {"decoder_sparse_step": 2}, {"mlp_only_layers": [1]}],
    "olmoe": [{}, TIED, BIASES],
    "deepseek_v3": [{}, TIED, BIASES, {"q_lora_rank": None}, {"n_shared_experts": 2}, {"first_k_dense_replace": 0}],
    "phi3": [{}, TIED, {"num_key_value_heads": 4}],
    "gpt2": [{}, UNTIED, {"n_inner": 20}, {"add_cross_attention": True}],
    "gpt_neox": [{}, TIED, {"attention_bias": False}],
    "gpt_oss": [{}, TIED, {"attention_bias": False}],
    "bloom": [{}, UNTIED],
    "falcon": [{}, UNTIED, {"bias": True}, {"multi_query": False}, {"parallel_attn": False},
               {"new_decoder_architecture": True}, {"new_decoder_architecture": True, "num_ln_in_parallel_attn": 1}],
    "opt": [{}, UNTIED, {"enable_bias": False}, {"word_embed_proj_dim": 16}, {"do_layer_norm_before": False},
            {"layer_norm_elementwise_affine": False}, {"_remove_final_layer_norm": True}],
}


def shapes_in(folder):
    shapes = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            shapes.update({name: file.get_slice(name).get_shape() for name in file.keys()})
    return shapes


def structure(model_type, change):
    kind = CONFIG_MAPPING[model_type]
    known = kind().to_dict()
    model = AutoModelForCausalLM.from_config(kind(**{**{k: v for k, v in SMALL.items() if k in known}, **change}))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return {"config": json.loads((pathlib.Path(folder) / "config.json").read_text()),
                "saved": shapes_in(pathlib.Path(folder)),
                "held": {name: list(value.shape) for name, value in model.state_dict().items()}}


def main(out):
    found = {}
    for model_type, changes in CASES.items():
        for change in changes:
            words = [f"{key}={value}" for key, value in change.items()]
            found[" ".join([model_type, *words])] = structure(model_type, change)
    pathlib.Path(out).write_bytes(gzip.compress(json.dumps(found).encode(), mtime=0))


if __name__ == "__main__":
    main(sys.argv[1])
