"""Tiny random models made, saved and loaded by transformers: what every rank must hold.

    python reference.py OUT MODEL_TYPE...

OUT/TYPE/ckpt is the checkpoint as published ones are laid out. OUT/TYPE/full.safetensors is the model as one process
loads it, under its own names; OUT/TYPE/rank-R.safetensors is what rank R of two (gloo) holds of it by the framework's
tensor parallelism, and OUT/TYPE/placements.json where the framework says these pieces lie.
"""

import json
import pathlib
import sys
import zlib

import torch
import torch.multiprocessing
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, DistributedConfig

RANKS = 2

# Small, with sizes that tell their dimensions apart. A field that a configuration does not have is left out of it.
SIZES = {
    "vocab_size": 48, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "moe_intermediate_size": 12,
    "shared_expert_intermediate_size": 20, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "q_lora_rank": 16, "kv_lora_rank": 16,
    "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "first_k_dense_replace": 1, "bos_token_id": 1,
    "eos_token_id": 2, "sliding_window": 16,
    "pad_token_id": None,  # the row of a padding token would be set to zero after loading
}


def tiny_config(model_type):
    kind = CONFIG_MAPPING[model_type]
    known = kind().to_dict()
    return kind(**{name: size for name, size in SIZES.items() if name in known})


def make_checkpoint(folder, model_type):
    """Every value random, so that no two tensors are equal by chance; saved in several files."""
    model = AutoModelForCausalLM.from_config(tiny_config(model_type), dtype=torch.bfloat16)
    random = torch.Generator().manual_seed(zlib.crc32(model_type.encode()))
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=random))
    model.save_pretrained(folder, max_shard_size="30KB")


def tensors_of(model):
    """What is saved of a model by name, each tied parameter once; pieces of a sharded one as this rank holds them."""
    local, placements = {}, {}
    saved = model.state_dict()
    names = [name for name, _ in model.named_parameters()] + [name for name, _ in model.named_buffers()]
    for name in filter(saved.__contains__, names):
        value = saved[name].detach()
        if isinstance(value, DTensor):
            placements[name] = [repr(placement) for placement in value.placements]
            value = value.to_local()
        local[name] = value.contiguous().clone()
    return local, placements


def load_as_rank(rank, out, model_types):
    torch.distributed.init_process_group("gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=RANKS)
    for model_type in model_types:
        folder = out / model_type
        try:
            model = AutoModelForCausalLM.from_pretrained(
                folder / "ckpt", dtype=torch.bfloat16, distributed_config=DistributedConfig(tp_size=RANKS))
            local, placements = tensors_of(model)
            save_file(local, folder / f"rank-{rank}.safetensors")
            (folder / "placements.json").write_text(json.dumps(placements))
        except Exception as error:  # the framework cannot load some of its own models in parallel; the test says which
            (folder / f"rank-{rank}.error").write_text(f"{type(error).__name__}: {error}")
    torch.distributed.destroy_process_group()


def main(out, model_types):
    for model_type in model_types:
        folder = out / model_type
        make_checkpoint(folder / "ckpt", model_type)
        whole = AutoModelForCausalLM.from_pretrained(folder / "ckpt", dtype=torch.bfloat16)
        save_file(tensors_of(whole)[0], folder / "full.safetensors")
    torch.multiprocessing.spawn(load_as_rank, (out, model_types), nprocs=RANKS)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:])
