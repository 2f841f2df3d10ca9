"""Quantized checkpoints: what --quantized dequantize makes of FP8 and MXFP4 equals numpy's codes times scales, cut as
any other parameter; --quantized keep leaves codes as stored and cuts their scales with them."""

import json

import ml_dtypes
import numpy as np
import pytest

from checkpoints import Tensor, read_rank, write_checkpoint
from reference import expected_rank
from refusal import INPUT, assert_refused, load

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
E2M1[8] = -0.0
VALUE = {"BF16": ml_dtypes.bfloat16, "F16": np.float16, "F32": np.float32}
RAW = {2: np.uint16, 4: np.uint32}
SCALE = {
    "F32": (np.float32, np.uint32),
    "BF16": (ml_dtypes.bfloat16, np.uint16),
    "F16": (np.float16, np.uint16),
    "U8": (ml_dtypes.float8_e8m0fnu, np.uint8),
    "F8_E8M0": (ml_dtypes.float8_e8m0fnu, np.uint8),
}


def numbers(values, dtype):
    """An F32 array rounded and as raw elements."""
    with np.errstate(all="ignore"):
        rounded = values.astype(VALUE[dtype])
    return Tensor(dtype, rounded.view(RAW[rounded.itemsize]))


class Model:
    """Stored tensors, and the numbers that they stand for as F32."""

    def __init__(self, model_type, **config):
        self.random = np.random.default_rng(5)
        self.config = {"model_type": model_type, "num_attention_heads": 4, "num_key_value_heads": 2, **config}
        self.stored, self.values = {}, {}

    def plain(self, name, *shape):
        self.values[name] = self.random.normal(size=shape).astype(np.float32)
        self.stored[name] = numbers(self.values[name], "F32")

    def fp8(self, name, shape, grid, scale="F32", suffix="_scale_inv", block=None):
        """Codes and scales; the last blocks are short where the extents of `block` do not divide the shape."""
        codes = self.random.integers(0, 256, shape, np.uint8)
        codes[codes % 128 == 127] = 0x81  # no NaN, but a subnormal
        value, raw = SCALE[scale]
        scales = np.asarray(2.0 ** self.random.integers(-9, 9, grid) * self.random.uniform(0.5, 1, grid)).astype(value)
        self.stored[name] = Tensor("F8_E4M3", codes)
        self.stored[name + suffix] = Tensor(scale, scales.view(raw))
        blocks = scales.astype(np.float32)
        for axis, extent in enumerate(grid):
            size = block[axis] if block else shape[axis] // extent
            blocks = np.repeat(blocks, size, axis).take(range(shape[axis]), axis)
        self.values[name] = codes.view(ml_dtypes.float8_e4m3fn).astype(np.float32) * blocks

    def mxfp4(self, name, experts, rows, columns):
        blocks = self.random.integers(0, 256, (experts, rows, columns // 32, 16), np.uint8)
        scales = self.random.integers(110, 140, (experts, rows, columns // 32), np.uint8)
        self.stored[name + "_blocks"] = Tensor("U8", blocks)
        self.stored[name + "_scales"] = Tensor("U8", scales)
        codes = np.stack([blocks & 15, blocks >> 4], -1).reshape(experts, rows, columns // 32, 32)
        scaled = E2M1[codes] * 2.0 ** (scales[..., None].astype(np.float32) - 127)
        self.values[name] = scaled.reshape(experts, rows, columns).swapaxes(1, 2).astype(np.float32)

    def write(self, folder):
        names = sorted(self.stored)
        return write_checkpoint(
            folder,
            self.config,
            {
                "model-1.safetensors": {name: self.stored[name] for name in names[::2]},
                "model-2.safetensors": {name: self.stored[name] for name in names[1::2]},
            },
        )

    def assert_held(self, folder, ranks, copies, dtype_of, plan="tp"):
        whole = {name: numbers(values, dtype_of(name)) for name, values in self.values.items()}
        for rank in range(ranks):
            held = read_rank(folder, rank)
            tp = ranks // copies
            expected = expected_rank(self.config, whole, rank % tp, tp, plan)
            assert held.keys() == expected.keys()
            for name, tensor in expected.items():
                assert (held[name].dtype, held[name].array.shape) == (tensor.dtype, tensor.array.shape), name
                wrong = np.argwhere(held[name].array != tensor.array)
                assert not len(wrong), f"{name} on rank {rank}: {len(wrong)} wrong, the first at {wrong[0]}"


def llama():
    """Every type of scales, blocks of several shapes; 2 ranks cut blocks, 3 do not."""
    model = Model("llama", torch_dtype="bfloat16")
    layer = "model.layers.0."
    model.plain(layer + "input_layernorm.weight", 64)
    model.plain("model.embed_tokens.weight", 50, 64)
    model.fp8(layer + "self_attn.q_proj.weight", (96, 64), (3, 2))
    model.fp8(layer + "self_attn.k_proj.weight", (96, 64), (3, 2), "BF16")
    model.fp8(layer + "self_attn.v_proj.weight", (96, 64), (6, 64), "U8")
    model.fp8(layer + "self_attn.o_proj.weight", (64, 96), (2, 3), "F8_E8M0")
    model.fp8(layer + "mlp.gate_proj.weight", (192, 64), (192, 1), "F16", "_scale")
    model.fp8(layer + "mlp.up_proj.weight", (192, 64), (), "F32", "_scale")
    model.fp8(layer + "mlp.down_proj.weight", (64, 192), (1, 6))
    model.stored[layer + "mlp.up_proj.input_scale"] = numbers(np.ones(1, np.float32), "F32")
    return model


def short_blocks():
    """Blocks that the configuration states: the last ones are short, and some shapes would fit other blocks, too."""
    stated = {"quant_method": "fp8", "weight_block_size": [32, 48]}
    model = Model("llama", torch_dtype="bfloat16", quantization_config=stated)
    layer = "model.layers.0."
    model.fp8(layer + "self_attn.q_proj.weight", (72, 64), (3, 2), block=(32, 48))
    model.fp8(layer + "self_attn.k_proj.weight", (50, 130), (2, 3), block=(32, 48))
    model.fp8(layer + "self_attn.o_proj.weight", (64, 72), (2, 2), block=(32, 48))
    model.fp8(layer + "mlp.gate_proj.weight", (33, 96), (2, 2), block=(32, 48))
    model.fp8(layer + "mlp.down_proj.weight", (96, 192), (3, 4), block=(32, 48))
    model.fp8(layer + "mlp.up_proj.weight", (192, 64), (), "F32", "_scale")
    return model


def mixtral():
    model = Model("mixtral", torch_dtype="bfloat16", num_local_experts=3)
    for expert in range(3):
        at = f"model.layers.0.block_sparse_moe.experts.{expert}."
        model.fp8(at + "w1.weight", (96, 64), (3, 2))
        model.fp8(at + "w3.weight", (96, 64), (3, 2))
        model.fp8(at + "w2.weight", (64, 96), (2, 3))
    return model


def gpt_oss():
    model = Model("gpt_oss", torch_dtype="bfloat16", num_local_experts=4)
    model.mxfp4("model.layers.0.mlp.experts.gate_up_proj", 4, 96, 64)
    model.mxfp4("model.layers.0.mlp.experts.down_proj", 4, 64, 160)
    model.plain("model.layers.0.mlp.experts.down_proj_bias", 4, 64)
    return model


def large():
    """Tensors that fall into several requests, waves and stripes of the least staging memory."""
    model = Model("llama", torch_dtype="bfloat16")
    layer = "model.layers.0."
    model.fp8(layer + "self_attn.q_proj.weight", (1000, 1023), (8, 11))
    model.fp8(layer + "mlp.down_proj.weight", (777, 1280), (7, 10), "BF16")
    model.fp8(layer + "mlp.up_proj.weight", (1280, 771), (5, 3), "U8")
    return model


def large_experts():
    model = Model("gpt_oss", torch_dtype="bfloat16", num_local_experts=4)
    model.mxfp4("model.layers.0.mlp.experts.gate_up_proj", 4, 610, 544)
    model.plain("model.layers.0.mlp.experts.down_proj_bias", 4, 64)
    return model


def plain_stays(name):
    return "F32" if "norm" in name or "embed" in name or "bias" in name else "BF16"


CASES = [
    (llama, 1, "tp", []),
    (llama, 2, "tp", ["--strategy=direct", "--io=pread"]),
    (llama, 3, "tp", ["--strategy=cooperative", "--transport=mpi"]),
    (llama, 3, "tp", ["--strategy=cooperative", "--staging=1MiB", "--io=mmap"]),
    (short_blocks, 1, "tp", []),
    (short_blocks, 2, "tp", ["--strategy=cooperative"]),
    (short_blocks, 3, "tp", ["--strategy=direct", "--io=pread"]),
    (mixtral, 2, "tp", []),
    (mixtral, 3, "tp", ["--strategy=cooperative"]),
    (gpt_oss, 2, "tp", []),
    (gpt_oss, 2, "ep", ["--strategy=direct"]),
    (gpt_oss, 4, "ep", ["--strategy=cooperative", "--transport=mpi"]),
    (large, 1, "tp", ["--strategy=direct", "--staging=1MiB", "--io=pread"]),
    (large, 2, "tp", ["--strategy=cooperative", "--staging=1MiB", "--transport=mpi"]),
    (large, 3, "tp", ["--strategy=cooperative", "--staging=1MiB", "--lanes=2"]),
    (large, 4, "tp", ["--strategy=direct", "--staging=1MiB", "--dp=2"]),
    (large_experts, 2, "ep", ["--strategy=cooperative", "--staging=1MiB"]),
    (large_experts, 3, "tp", ["--strategy=cooperative", "--staging=1MiB", "--transport=mpi"]),
    (large_experts, 2, "tp", ["--strategy=direct", "--staging=1MiB"]),
]


NAMES = [f"{make.__name__}-{ranks}-{plan}" for make, ranks, plan, _ in CASES]


@pytest.mark.parametrize("make,ranks,plan,options", CASES, ids=NAMES)
def test_numbers_are_codes_times_scales(shardwise, tmp_path, make, ranks, plan, options):
    model = make()
    checkpoint = model.write(tmp_path / "checkpoint")
    options = ["--quantized=dequantize", f"--plan={plan}", "--verify", f"--out={tmp_path / 'out'}", *options]
    shardwise.check("load", checkpoint, *options, ranks=ranks)
    model.assert_held(tmp_path / "out", ranks, 2 if "--dp=2" in options else 1, plain_stays, plan)


def test_numbers_have_the_type_that_was_asked_for(shardwise, tmp_path):
    model = llama()
    checkpoint = model.write(tmp_path / "checkpoint")
    options = ["--quantized=dequantize", "--dtype=F16", "--verify", f"--out={tmp_path / 'out'}"]
    shardwise.check("load", checkpoint, *options, ranks=2)
    model.assert_held(tmp_path / "out", 2, 1, lambda name: "F16")


def test_scales_are_counted_as_read(shardwise, tmp_path):
    checkpoint = gpt_oss().write(tmp_path / "checkpoint")
    option = "--quantized=dequantize"
    foretold = json.loads(shardwise.check("plan", checkpoint, "--tp=2", "--json", option).stdout)
    stats = tmp_path / "stats.json"
    shardwise.check("load", checkpoint, f"--stats={stats}", option, "--io=pread", ranks=2)
    for plan, rank in zip(foretold["ranks"], json.loads(stats.read_text())["ranks"], strict=True):
        assert plan["read_bytes"] == rank["bytes"]["read"]
        assert plan["requests"] == rank["requests"]


def test_a_plan_shows_blocks_with_their_casts_and_scales(shardwise, tmp_path):
    checkpoint = llama().write(tmp_path / "checkpoint")
    options = ["--tp=3", "--rank=1", "--strategy=cooperative", "--json", "--quantized=dequantize"]
    document = json.loads(shardwise.check("plan", checkpoint, *options).stdout)
    rank = document["ranks"][0]
    blocks = [block for wave in rank["waves"] for receive in wave["receives"] for block in receive["blocks"]]
    casts = [block["cast"] for block in blocks if "scaling" in block.get("cast", {})]
    assert len(casts) >= 7
    assert {(cast["from"], cast["to"]) for cast in casts} == {("F8_E4M3", "BF16")}
    assert {cast["scaling"] for cast in casts} == set(range(7)) == set(range(len(rank["scalings"])))
    names = {scaling["dtype"]: scaling["bytes"] for scaling in rank["scalings"]}
    assert names["BF16"] == 2 * 2  # of k: one of three rows of two scales


def test_scales_that_do_not_fit_are_refused_by_name(shardwise, tmp_path):
    model = llama()
    name = "model.layers.0.self_attn.q_proj.weight"
    model.stored[name + "_scale_inv"] = numbers(np.ones((5, 2), np.float32), "F32")
    checkpoint = model.write(tmp_path / "checkpoint")
    result = load(shardwise, checkpoint, "--quantized=dequantize")
    assert_refused(result, INPUT, [name, name + "_scale_inv", "[5, 2]", "[96, 64]"])


def test_numbers_in_8_bits_are_refused(shardwise, tmp_path):
    checkpoint = llama().write(tmp_path / "checkpoint")
    assert_refused(load(shardwise, checkpoint, "--quantized=dequantize", "--dtype=F8_E4M3"), INPUT, ["F8_E4M3"])


def test_kept_scales_are_cut_with_their_codes(shardwise, tmp_path):
    model = llama()
    checkpoint = model.write(tmp_path / "checkpoint")
    shardwise.check("load", checkpoint, "--dtype=F16", "--verify", f"--out={tmp_path / 'out'}", ranks=3)
    at = "model.layers.0."
    for rank in range(3):
        held = read_rank(tmp_path / "out", rank)
        # By hand: rows of q by 32, one block; columns of o by 32; one scale a row of gate; one for all of up.
        for name, part in [
            (at + "self_attn.q_proj.weight", np.s_[32 * rank : 32 * rank + 32]),
            (at + "self_attn.q_proj.weight_scale_inv", np.s_[rank : rank + 1]),
            (at + "self_attn.v_proj.weight_scale_inv", np.s_[2 * rank : 2 * rank + 2]),
            (at + "self_attn.o_proj.weight_scale_inv", np.s_[:, rank : rank + 1]),
            (at + "mlp.gate_proj.weight_scale", np.s_[64 * rank : 64 * rank + 64]),
            (at + "mlp.up_proj.weight_scale", np.s_[()]),
            (at + "mlp.down_proj.weight_scale_inv", np.s_[:, 2 * rank : 2 * rank + 2]),
        ]:
            stored = model.stored[name]
            assert held[name].dtype == stored.dtype, name
            assert np.array_equal(held[name].array, stored.array[part]), f"{name} on rank {rank}"


def test_a_border_that_cuts_a_kept_block_is_refused_by_name(shardwise, tmp_path):
    checkpoint = llama().write(tmp_path / "checkpoint")
    result = load(shardwise, checkpoint)
    assert_refused(result, INPUT, ["self_attn", "weight_scale_inv", "pieces of 48", "blocks of 32", "dequantize"])
