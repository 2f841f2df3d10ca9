"""--dtype: every rank holds the cut of what numpy and ml_dtypes cast, for every bit pattern of the 16-bit types."""

import json
import pathlib
import struct

import ml_dtypes
import numpy as np
import pytest

from checkpoints import Tensor, differences, read_rank, write_checkpoint
from conftest import SOURCE
from reference import expected_rank
from refusal import USAGE, assert_refused

VALUE = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
}
CONFIG = {"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 256}
LAYER = "model.layers.0."


def tensors():
    random = np.random.default_rng(3)
    patterns = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    bits = random.integers(0, 2**32, (70, 96), np.uint32)
    doubles = random.normal(size=(33, 62)) * 10.0 ** random.integers(-40, 40, (33, 62))
    return {
        "model.embed_tokens.weight": Tensor("BF16", patterns),
        LAYER + "input_layernorm.weight": Tensor("F32", random.normal(size=301).astype(np.float32).view(np.uint32)),
        LAYER + "self_attn.q_proj.weight": Tensor("F16", patterns),
        LAYER + "self_attn.v_proj.weight": Tensor("F32", bits),
        LAYER + "self_attn.o_proj.weight": Tensor("BF16", patterns.T.copy()),
        LAYER + "mlp.down_proj.weight": Tensor("F64", doubles.view(np.uint64)),
        LAYER + "mlp.up_proj.counts": Tensor("I32", random.integers(0, 99, (12, 5), np.int32)),
        LAYER + "mlp.gate_proj.weight": Tensor("F8_E4M3", random.integers(0, 255, (24, 16), np.uint8)),
        LAYER + "mlp.gate_proj.weight_scale_inv": Tensor("F32", bits[:24, :1]),
    }


STAYS = {LAYER + name for name in ("mlp.up_proj.counts", "mlp.gate_proj.weight", "mlp.gate_proj.weight_scale_inv")}


def pad_header(path):
    """So that every element is aligned in the file, as the safetensors library writes it."""
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = data[8 : 8 + length]
    header += b" " * (-length % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(header)) + header + data[8 + length :])


@pytest.fixture(scope="module", params=["aligned", "anywhere"])
def checkpoint(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dtype")
    # The widest elements first keeps all of them aligned; a byte in front of them none.
    by_width = sorted(tensors().items(), key=lambda item: -item[1].array.itemsize)
    if request.param == "anywhere":
        by_width.insert(0, ("model.layers.0.mlp.odd", Tensor("U8", np.array([7], np.uint8))))
    write_checkpoint(folder, CONFIG, {"model.safetensors": dict(by_width)})
    pad_header(folder / "model.safetensors")
    return folder


def cast(tensor, dtype):
    """Rounded to F32 first, which matters for F64 only."""
    values = tensor.array.view(VALUE[tensor.dtype])
    with np.errstate(all="ignore"):
        return values.astype(np.float32).astype(VALUE[dtype])


def assert_holds(folder, ranks, dtype_of):
    """Every rank holds the cut of every tensor in the type that dtype_of(name, stored type) says; NaN is any NaN."""
    for rank in range(ranks):
        held = read_rank(folder, rank)
        for name, stored in expected_rank(CONFIG, tensors(), rank, ranks).items():
            dtype = dtype_of(name, stored.dtype)
            assert held[name].dtype == dtype, name
            assert held[name].array.shape == stored.array.shape, name
            if dtype == stored.dtype:
                assert held[name].array.tobytes() == stored.array.tobytes(), name
                continue
            expected = cast(stored, dtype)
            raw = held[name].array
            is_same = expected.view(raw.dtype) == raw
            is_nan = np.isnan(expected.astype(np.float32)) & np.isnan(raw.view(VALUE[dtype]).astype(np.float32))
            wrong = np.argwhere(~(is_same | is_nan))
            assert not len(wrong), f"{name} on rank {rank}: {len(wrong)} wrong, the first at {wrong[0]}"


WAYS = [
    ("F32", 1, []),
    ("F16", 2, ["--strategy=direct", "--io=pread"]),
    ("BF16", 3, ["--strategy=cooperative", "--transport=mpi"]),
    ("F8_E4M3", 2, ["--strategy=cooperative", "--staging=1MiB"]),
    ("F8_E5M2", 3, ["--io=mmap"]),
    ("F64", 2, ["--strategy=direct", "--lanes=3"]),
]


@pytest.mark.parametrize("dtype,ranks,options", WAYS, ids=[way[0] for way in WAYS])
def test_ranks_hold_what_numpy_casts(shardwise, checkpoint, tmp_path, dtype, ranks, options):
    shardwise.check("load", checkpoint, f"--dtype={dtype}", "--verify", f"--out={tmp_path}", *options, ranks=ranks)
    assert_holds(tmp_path, ranks, lambda name, stored: stored if name in STAYS else dtype)


def test_without_it_everything_stays_as_stored(shardwise, checkpoint, tmp_path):
    shardwise.check("load", checkpoint, f"--out={tmp_path}", ranks=2)
    assert_holds(tmp_path, 2, lambda name, stored: stored)


@pytest.mark.parametrize("dtype,kept", [("float16", {"norm", "embed"}), ("bfloat16", {"embed"}), ("float32", set())])
def test_an_architecture_keeps_parameters_in_32_bits(shardwise, checkpoint, tmp_path, dtype, kept):
    description = json.loads((SOURCE / "configs/llama.json").read_text())
    description["keep_in_fp32"] = {"float16": ["_*norm.w"], "float16_and_bfloat16": ["embed"]}
    (tmp_path / "own.json").write_text(json.dumps(description))
    options = [f"--dtype={dtype}", f"--arch={tmp_path / 'own.json'}", "--verify", f"--out={tmp_path / 'out'}"]
    shardwise.check("load", checkpoint, *options, ranks=2)
    wanted = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}[dtype]

    def dtype_of(name, stored):
        if name in STAYS:
            return stored
        return "F32" if any(word in name for word in kept) else wanted

    assert_holds(tmp_path / "out", 2, dtype_of)


def test_other_types_are_refused(shardwise, checkpoint):
    assert_refused(shardwise.run("load", checkpoint, "--dtype=F31", ranks=1), USAGE, ["--dtype F31", "F32"])


def test_a_plan_says_both_what_is_read_and_what_is_held(shardwise, checkpoint):
    result = shardwise.check("plan", checkpoint, "--tp=2", "--dtype=F32", "--rank=0", "--json")
    document = json.loads(result.stdout)
    totals = document["ranks"][0]
    assert totals["store_bytes"] > totals["needed_bytes"]


def test_parts_of_one_parameter_may_be_stored_in_different_types(shardwise, tmp_path):
    random = np.random.default_rng(8)
    stored, config = {}, {**CONFIG, "model_type": "mixtral", "num_local_experts": 3}
    for expert in range(3):
        at = f"{LAYER}block_sparse_moe.experts.{expert}."
        for name, shape, dtype in [("w1", (30, 16), "F32"), ("w2", (16, 30), "BF16"), ("w3", (30, 16), "F16")]:
            values = random.normal(size=shape).astype(VALUE[dtype])
            stored[f"{at}{name}.weight"] = Tensor(dtype, values.view({4: np.uint32, 2: np.uint16}[values.itemsize]))
    write_checkpoint(tmp_path / "checkpoint", config, {"model.safetensors": stored})
    options = ["--dtype=BF16", "--verify", f"--out={tmp_path / 'out'}"]
    shardwise.check("load", tmp_path / "checkpoint", *options, ranks=2)
    whole = {name: Tensor("BF16", cast(tensor, "BF16").view(np.uint16)) for name, tensor in stored.items()}
    for rank in range(2):
        assert not differences(read_rank(tmp_path / "out", rank), expected_rank(config, whole, rank, 2))


@pytest.mark.parametrize("odd_bytes", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "ranks,strategy,transport", [(2, "auto", "shm"), (3, "cooperative", "mpi"), (3, "direct", "shm")]
)
def test_elements_at_any_offset_are_cast_whole(shardwise, tmp_path, odd_bytes, ranks, strategy, transport):
    """Stripes, waves and requests of the least staging memory end inside tensors whose elements lie across every
    boundary of bytes; experts are stacked, turned into rows and columns, and cut on top of it."""
    random = np.random.default_rng(odd_bytes)
    config = {**CONFIG, "model_type": "mixtral", "num_local_experts": 2}
    at = f"{LAYER}block_sparse_moe.experts."
    shapes = {f"{LAYER}self_attn.o_proj.weight": (331, 517), f"{LAYER}self_attn.q_proj.weight": (259, 401)}
    for expert in range(2):
        shapes |= {f"{at}{expert}.w1.weight": (173, 301), f"{at}{expert}.w3.weight": (173, 301)}
        shapes |= {f"{at}{expert}.w2.weight": (301, 173)}
    stored = {f"{LAYER}odd": Tensor("U8", np.arange(odd_bytes).astype(np.uint8))}
    for number, (name, shape) in enumerate(shapes.items()):
        dtype = ("F32", "F64", "BF16")[(number + odd_bytes) % 3]
        values = random.normal(size=shape).astype(VALUE[dtype])
        stored[name] = Tensor(dtype, values.view({8: np.uint64, 4: np.uint32, 2: np.uint16}[values.itemsize]))
    write_checkpoint(tmp_path / "checkpoint", config, {"model.safetensors": stored})
    pad_header(tmp_path / "checkpoint/model.safetensors")
    options = ["--dtype=F16", "--staging=1MiB", f"--strategy={strategy}", f"--transport={transport}", "--verify"]
    shardwise.check("load", tmp_path / "checkpoint", f"--out={tmp_path / 'out'}", *options, ranks=ranks)
    whole = {
        name: tensor if tensor.dtype == "U8" else Tensor("F16", cast(tensor, "F16").view(np.uint16))
        for name, tensor in stored.items()
    }
    for rank in range(ranks):
        assert not differences(read_rank(tmp_path / "out", rank), expected_rank(config, whole, rank, ranks))
