"""What every rank must hold, worked out plainly: whole tensors are converted, then cut. Knows nothing of shardwise
and its configs.

The rules stand here once more, by hand, from the published models: which weights are cut along their rows (outputs),
which along their columns (inputs), how experts are stacked."""

import re
from typing import NamedTuple

import numpy as np

from checkpoints import Tensor

BY_OUTPUT = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "embed_tokens", "lm_head")
BY_INPUT = ("o_proj", "down_proj")
# (gate, up, down) of one expert as the files name them, and where the stacked ones are held
EXPERTS = {
    "mixtral": (r"(.*)\.block_sparse_moe\.experts\.(\d+)\.(w1|w3|w2)\.weight", ("w1", "w3", "w2")),
    "qwen3_moe": (
        r"(.*)\.mlp\.experts\.(\d+)\.(gate_proj|up_proj|down_proj)\.weight",
        ("gate_proj", "up_proj", "down_proj"),
    ),
}


def ceil_piece(array, dim, part, parts):
    """Piece `part` of `parts` along dim by the ceil rule: the last ones may be short or empty."""
    size = array.shape[dim]
    step = -(-size // parts)
    return np.take(array, np.arange(min(part * step, size), min((part + 1) * step, size)), axis=dim)


def packed_piece(array, dim, blocks, rank, world):
    """The rank's piece of each block, joined in block order."""
    ends = np.cumsum(blocks)[:-1]
    return np.concatenate([ceil_piece(block, dim, rank, world) for block in np.split(array, ends, axis=dim)], axis=dim)


def stack_experts(pattern, roles, tensors):
    """Single experts to stacks in the order of their numbers: gate rows before up rows, and down."""
    held, experts = {}, {}
    for name, tensor in tensors.items():
        match = re.fullmatch(pattern, name)
        if match:
            layer, number, role = match.groups()
            experts.setdefault(layer, {}).setdefault(role, {})[int(number)] = tensor
        else:
            held[name.replace(".block_sparse_moe.", ".mlp.")] = tensor
    for layer, by_role in experts.items():
        gate, up, down = (np.stack([by_role[role][i].array for i in sorted(by_role[role])]) for role in roles)
        dtype = by_role[roles[0]][0].dtype
        held[f"{layer}.mlp.experts.gate_up_proj"] = Tensor(dtype, np.concatenate([gate, up], axis=1))
        held[f"{layer}.mlp.experts.down_proj"] = Tensor(dtype, down)
    return held


def whole_model(config, tensors):
    """The parameters as one process would hold them."""
    if config["model_type"] in EXPERTS:
        return stack_experts(*EXPERTS[config["model_type"]], tensors)
    return {name: tensor for name, tensor in tensors.items() if not name.endswith("rotary_emb.inv_freq")}


def cut_experts(name, array, plan, rank, world):
    if plan == "ep":
        return ceil_piece(array, 0, rank, world)
    if name.endswith("gate_up_proj"):
        return packed_piece(array, 1, [array.shape[1] // 2] * 2, rank, world)
    return ceil_piece(array, 2, rank, world)


def cut_fused(config, name, array, plan, rank, world):
    """Phi-3's q|k|v and gate|up: in one piece as the framework cuts them, or part by part under plan packed."""
    if plan != "packed":
        return ceil_piece(array, 0, rank, world)
    if "qkv_proj" in name:
        head = array.shape[0] // (config["num_attention_heads"] + 2 * config["num_key_value_heads"])
        blocks = [
            config["num_attention_heads"] * head,
            config["num_key_value_heads"] * head,
            config["num_key_value_heads"] * head,
        ]
    else:
        blocks = [array.shape[0] // 2] * 2
    return packed_piece(array, 0, blocks, rank, world)


def cut(config, name, array, plan, rank, world, kv_heads):
    module, _, kind = name.rpartition(".")
    module = module.rpartition(".")[2]
    if ".mlp.experts." in name:
        # GPT-OSS has no plan for its layers but that of whole experts
        return (
            array if config["model_type"] == "gpt_oss" and plan != "ep" else cut_experts(name, array, plan, rank, world)
        )
    if config["model_type"] == "gpt_oss":
        return ceil_piece(array, 0, rank, world) if module == "lm_head" else array
    if module in ("qkv_proj", "gate_up_proj"):
        return cut_fused(config, name, array, plan, rank, world)
    heads = config.get("num_key_value_heads", 0)
    if kv_heads == "replicate" and module in ("k_proj", "v_proj") and heads % world:
        return ceil_piece(array, 0, rank * heads // world, heads)
    if module in BY_OUTPUT:
        return ceil_piece(array, 0, rank, world)
    if module in BY_INPUT and kind != "bias":
        return ceil_piece(array, array.ndim - 1, rank, world)
    return array


class Mesh(NamedTuple):
    """Ranks count through tp first, then fsdp, dp and pp. Experts see fsdp x tp as efsdp x ep."""

    pp: int = 1
    dp: int = 1
    fsdp: int = 1
    tp: int = 1
    ep: int = 0  # as tp

    @property
    def world(self):
        return self.pp * self.dp * self.fsdp * self.tp

    def options(self):
        return [f"--{name}={size}" for name, size in self._asdict().items() if size > 1 or name == "tp"]


def stages_of(config, names, name, stages):
    """Layers go evenly, the last stage takes the remainder; what is not named here is on every stage."""
    layer = re.match(r"model\.layers\.(\d+)\.", name)
    if layer:
        return {min(int(layer.group(1)) // (config["num_hidden_layers"] // stages), stages - 1)}
    if name.startswith("model.embed_tokens."):
        is_head = config.get("tie_word_embeddings") and "lm_head.weight" not in names
        return {0, stages - 1} if is_head else {0}
    if name.startswith(("model.norm.", "lm_head.")):
        return {stages - 1}
    return set(range(stages))


def expected_on_mesh(config, tensors, mesh, rank, plan="tp", kv_heads="cut"):
    """{name: Tensor} that a rank of a mesh must hold: the tp or ep cut, then dimension 0 of it by fsdp."""
    held = {}
    whole = whole_model(config, tensors)
    in_copy = rank % (mesh.fsdp * mesh.tp)
    for name, tensor in whole.items():
        if rank // (mesh.world // mesh.pp) not in stages_of(config, whole, name, mesh.pp):
            continue
        inner = mesh.ep if mesh.ep and plan == "ep" and ".mlp.experts." in name else mesh.tp
        array = cut(config, name, tensor.array, plan, in_copy % inner, inner, kv_heads)
        if array.ndim > 0:
            array = ceil_piece(array, 0, in_copy // inner, mesh.fsdp * mesh.tp // inner)
        held[name] = Tensor(tensor.dtype, array)
    return held


def expected_rank(config, tensors, tp_rank, tp, plan="tp", kv_heads="cut"):
    """{name: Tensor} that a rank must hold."""
    return {
        name: Tensor(tensor.dtype, cut(config, name, tensor.array, plan, tp_rank, tp, kv_heads))
        for name, tensor in whole_model(config, tensors).items()
    }
