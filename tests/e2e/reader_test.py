"""Every rank's tensors against an independent reader: whole tensors by the safetensors library, cut by numpy
(reference.py)."""

import json
import mmap
import os

import numpy as np
import pytest

from checkpoints import Tensor, differences, random_tensor, read_folder, read_rank, write_checkpoint
from conftest import make_checkpoint
from reference import expected_rank

UNAVAILABLE = 7

# Sizes that no number of ranks divides: short and empty shards, data at odd offsets.
ODD_LLAMA = dict(arch="llama", hidden=37, intermediate=53, heads=5, kv_heads=3, head_dim=7, vocab=101)
MODELS = {
    "llama": ODD_LLAMA,
    "llama_tied": dict(arch="llama", tied=True, files=1),
    "llama_float": dict(arch="llama", dtype="F32", hidden=48, files=2),
    "qwen2": dict(arch="qwen2", hidden=40, vocab=131, heads=4, kv_heads=2, head_dim=5),
    "mixtral": dict(arch="mixtral", experts=12, hidden=36, intermediate=22, files=5),
    "qwen3_moe": dict(arch="qwen3_moe", experts=12, hidden=34, intermediate=18, files=3),
    "phi3": dict(arch="phi3", heads=4, kv_heads=2, head_dim=12, hidden=44, intermediate=30),
    "gpt_oss": dict(arch="gpt_oss", experts=4, hidden=28, intermediate=24),
}


@pytest.fixture(scope="module")
def model(made_once):
    return made_once(MODELS)


def assert_ranks_hold(out, folder, tp, dp=1, plan="tp", kv_heads="cut"):
    config = json.loads((folder / "config.json").read_text())
    tensors = read_folder(folder)
    for rank in range(tp * dp):
        wrong = differences(read_rank(out, rank), expected_rank(config, tensors, rank % tp, tp, plan, kv_heads))
        assert not wrong, f"rank {rank}: " + "; ".join(wrong)


# name, tp, dp, options
MODEL_CASES = [
    ("llama", 1, 1, []),
    ("llama", 4, 1, ["--strategy=cooperative"]),
    ("llama", 2, 2, ["--strategy=cooperative", "--transport=mpi"]),
    ("llama", 2, 2, ["--strategy=direct"]),
    ("llama_tied", 3, 1, ["--strategy=cooperative"]),
    ("llama_float", 4, 1, []),
    ("llama_float", 3, 1, ["--strategy=cooperative", "--transport=mpi"]),
    ("qwen2", 2, 1, ["--strategy=direct"]),
    ("qwen2", 3, 1, ["--strategy=cooperative"]),
    ("mixtral", 2, 1, []),
    ("mixtral", 3, 1, ["--strategy=cooperative"]),
    ("mixtral", 4, 1, ["--plan=ep"]),
    ("mixtral", 2, 1, ["--plan=ep", "--strategy=cooperative"]),
    ("qwen3_moe", 4, 1, ["--strategy=direct"]),
    ("qwen3_moe", 4, 1, ["--strategy=cooperative", "--transport=mpi"]),
    ("qwen3_moe", 3, 1, ["--plan=ep"]),
    ("phi3", 3, 1, ["--strategy=cooperative"]),
    ("phi3", 2, 1, ["--plan=packed"]),
    ("phi3", 4, 1, ["--plan=packed", "--strategy=cooperative"]),
    ("phi3", 2, 2, ["--plan=packed"]),
    ("gpt_oss", 2, 1, []),
    ("gpt_oss", 4, 1, ["--plan=ep", "--strategy=cooperative"]),
    ("qwen2", 4, 1, ["--kv-heads=replicate"]),
    ("qwen2", 4, 1, ["--kv-heads=replicate", "--strategy=cooperative"]),
    ("qwen2", 2, 2, ["--kv-heads=replicate", "--strategy=cooperative"]),
]


def option_value(options, name, default):
    return next((option.partition("=")[2] for option in options if option.startswith(f"--{name}=")), default)


@pytest.mark.parametrize(
    "name,tp,dp,options", MODEL_CASES, ids=lambda value: " ".join(value) if isinstance(value, list) else value
)
def test_ranks_hold_what_the_reference_cuts(shardwise, model, tmp_path, name, tp, dp, options):
    folder = model(name)
    shardwise.check("load", folder, f"--tp={tp}", f"--dp={dp}", f"--out={tmp_path / 'out'}", *options, ranks=tp * dp)
    assert_ranks_hold(
        tmp_path / "out", folder, tp, dp, option_value(options, "plan", "tp"), option_value(options, "kv-heads", "cut")
    )


@pytest.mark.parametrize("transport", ["shm", "mpi"])
@pytest.mark.parametrize("io", ["mmap", "uring", "pread"])
@pytest.mark.parametrize("strategy", ["direct", "cooperative"])
def test_no_way_of_reading_changes_a_byte(shardwise, model, tmp_path, strategy, io, transport):
    folder = model("llama")
    result = shardwise.run(
        "load",
        folder,
        f"--strategy={strategy}",
        f"--io={io}",
        f"--transport={transport}",
        f"--out={tmp_path / 'out'}",
        ranks=3,
    )
    if result.returncode == UNAVAILABLE:
        pytest.skip(result.stderr.strip().splitlines()[0])
    assert result.returncode == 0, result.stderr
    assert_ranks_hold(tmp_path / "out", folder, 3)


def has_no_direct_io(path):
    """Why the file cannot be read past the page cache now; empty if it can."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            os.preadv(file.fileno(), [bytearray(1)], 1 << 20, os.RWF_NOWAIT)
            return "the page cache keeps it"
        except BlockingIOError:
            pass
    try:
        file = os.open(path, os.O_RDONLY | os.O_DIRECT)
        os.preadv(file, [mmap.mmap(-1, 4096)], 0)
        os.close(file)
    except OSError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("options", [["--io=uring"], ["--io=pread", "--staging=8MiB"]], ids=" ".join)
def test_whole_pages_go_from_the_disk_into_the_tensors(shardwise, tmp_path, options):
    # Norms, too, are whole pages, so that every tensor begins on one, in the file and in memory.
    sizes = dict(arch="llama", layers=2, hidden=2048, intermediate=1024, vocab=1024, heads=8, kv_heads=8, head_dim=64)
    folder = make_checkpoint(tmp_path / "pages", align=4096, **sizes)
    for obstacle in filter(None, map(has_no_direct_io, folder.glob("*.safetensors"))):
        pytest.skip(obstacle)
    stats_file = tmp_path / "stats.json"
    result = shardwise.run(
        "load", folder, "--strategy=direct", *options, f"--stats={stats_file}", f"--out={tmp_path / 'out'}", ranks=2
    )
    if result.returncode == UNAVAILABLE:
        pytest.skip(result.stderr.strip().splitlines()[0])
    assert result.returncode == 0, result.stderr
    assert_ranks_hold(tmp_path / "out", folder, 2)
    stats = json.loads(stats_file.read_text())
    # Embedding and head, and of each layer q, k, v, gate and up.
    cut_by_rows = 2 * 2048 * (2 * 1024 + 2 * (3 * 512 + 2 * 1024))
    assert 0.9 * cut_by_rows < stats["bytes"]["landed"]["sum"] <= cut_by_rows  # ends of requests may be short


@pytest.mark.parametrize(
    "options", [["--transport=shm", "--io=pread"], ["--transport=mpi", "--io=mmap"], ["--dp=2"]], ids=" ".join
)
def test_many_waves_through_a_small_staging_hold_the_same(shardwise, tmp_path, options):
    folder = make_checkpoint(
        tmp_path / "big",
        arch="llama",
        hidden=250,
        intermediate=701,
        vocab=4003,
        layers=3,
        heads=5,
        kv_heads=5,
        head_dim=50,
    )
    dp = int(option_value(options, "dp", 1))
    shardwise.check(
        "load", folder, "--strategy=cooperative", "--staging=1MiB", f"--out={tmp_path / 'out'}", *options, ranks=4
    )
    assert_ranks_hold(tmp_path / "out", folder, 4 // dp, dp)


def test_every_stored_type_goes_through_untouched(shardwise, tmp_path):
    """Cut and whole tensors, scalars and empty ones of each type, any bit pattern, without alignment."""
    generator = np.random.default_rng(7)
    files = {}
    for number, dtype in enumerate(
        [
            "BF16",
            "F8_E4M3",
            "F8_E5M2",
            "F8_E8M0",
            "F16",
            "F32",
            "F64",
            "I8",
            "U8",
            "I16",
            "U16",
            "I32",
            "U32",
            "I64",
            "U64",
            "BOOL",
        ]
    ):
        layer = f"model.layers.{number}"
        tensors = {
            f"{layer}.input_layernorm.weight": random_tensor(generator, dtype, 7),
            f"{layer}.self_attn.q_proj.weight": random_tensor(generator, dtype, 9, 7),
            f"{layer}.self_attn.o_proj.weight": random_tensor(generator, dtype, 7, 9),
            f"{layer}.self_attn.rotary_emb.scale": random_tensor(generator, dtype),
            f"{layer}.mlp.up_proj.weight": random_tensor(generator, dtype, 0, 7),
            f"{layer}.mlp.down_proj.weight": random_tensor(generator, dtype, 5, 2),
        }
        if dtype == "BOOL":
            tensors = {name: Tensor(dtype, tensor.array & 1) for name, tensor in tensors.items()}
        files.setdefault(f"model-{number % 3 + 1:05}-of-00003.safetensors", {}).update(tensors)
    config = {"model_type": "llama", "num_attention_heads": 3, "num_key_value_heads": 3, "hidden_size": 7}
    folder = write_checkpoint(tmp_path / "types", config, files)
    for strategy in ("direct", "cooperative"):
        out = tmp_path / strategy
        shardwise.check("load", folder, f"--strategy={strategy}", f"--out={out}", ranks=3)
        assert_ranks_hold(out, folder, 3)


def test_names_of_old_checkpoints_are_renamed_and_buffers_of_no_use_left_out(shardwise, tmp_path):
    generator = np.random.default_rng(8)
    tensors = {
        "model.layers.0.LayerNorm.gamma": random_tensor(generator, "F32", 6),
        "model.layers.0.LayerNorm.beta": random_tensor(generator, "F32", 6),
        "model.layers.0.self_attn.q_proj.weight": random_tensor(generator, "F32", 6, 6),
        "model.layers.0.self_attn.rotary_emb.inv_freq": random_tensor(generator, "F32", 3),
    }
    folder = write_checkpoint(
        tmp_path / "old", {"model_type": "llama", "num_attention_heads": 2}, {"model.safetensors": tensors}
    )
    shardwise.check("load", folder, f"--out={tmp_path / 'out'}", ranks=2)
    for rank in range(2):
        expected = {
            "model.layers.0.LayerNorm.weight": tensors["model.layers.0.LayerNorm.gamma"],
            "model.layers.0.LayerNorm.bias": tensors["model.layers.0.LayerNorm.beta"],
            "model.layers.0.self_attn.q_proj.weight": Tensor(
                "F32", tensors["model.layers.0.self_attn.q_proj.weight"].array[3 * rank : 3 * rank + 3]
            ),
        }
        assert not differences(read_rank(tmp_path / "out", rank), expected)
