"""HDF5 rank files as users of h5py and h5dump meet them."""

import json
import re
import shutil
import subprocess

import h5py
import ml_dtypes
import numpy as np
import pytest

from checkpoints import Tensor, differences, random_tensor, read_rank, write_checkpoint
from hdf5_files import read_rank_file, text
from refusal import HASTY_LAUNCHER, UNAVAILABLE, assert_nothing_under_a_final_name, assert_refused

RANKS = 3
ALIGNMENT = 64 << 10
ALIGNED_FROM = 4096
# How h5py sees each stored type. HDF5 would read the greatest numbers of E4M3 as NaN: it and its like are plain bytes.
SEEN_AS = {
    "BF16": np.float32,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "F8_E5M2": np.float16,
    "F8_E4M3": np.uint8,
    "F8_E8M0": np.uint8,
    "BOOL": np.uint8,
    "I8": np.int8,
    "U8": np.uint8,
    "I16": np.int16,
    "U16": np.uint16,
    "I32": np.int32,
    "U32": np.uint32,
    "I64": np.int64,
    "U64": np.uint64,
}
VALUES_OF = {"BF16": ml_dtypes.bfloat16, "F16": np.float16, "F8_E5M2": ml_dtypes.float8_e5m2}


def layer_of(dtype):
    return f"model.layers.{list(SEEN_AS).index(dtype)}"


@pytest.fixture(scope="module")
def types(tmp_path_factory):
    """A cut tensor, a whole one, a scalar and an empty one of each type; any bit pattern."""
    generator = np.random.default_rng(5)
    tensors = {}
    for dtype in SEEN_AS:
        tensors[f"{layer_of(dtype)}.self_attn.q_proj.weight"] = random_tensor(generator, dtype, 64, 50)
        tensors[f"{layer_of(dtype)}.self_attn.o_proj.weight"] = random_tensor(generator, dtype, 50, 64)
        tensors[f"{layer_of(dtype)}.input_layernorm.weight"] = random_tensor(generator, dtype, 50)
        tensors[f"{layer_of(dtype)}.scale"] = random_tensor(generator, dtype)
        tensors[f"{layer_of(dtype)}.mlp.up_proj.weight"] = random_tensor(generator, dtype, 1, 50)
    config = {"model_type": "llama", "num_attention_heads": 4}
    return write_checkpoint(tmp_path_factory.mktemp("types") / "checkpoint", config, {"model.safetensors": tensors})


@pytest.fixture(scope="module")
def written(shardwise, types, tmp_path_factory):
    """The same load in both formats: {format: folder}."""
    folders = {format: tmp_path_factory.mktemp("written") / format for format in ("safetensors", "hdf5")}
    for format, folder in folders.items():
        shardwise.check("load", types, f"--out={folder}", f"--format={format}", ranks=RANKS)
    return folders


def test_both_formats_hold_the_same_bits(written):
    for rank in range(RANKS):
        held = {
            name: Tensor(stored.dtype, stored.raw) for name, stored in read_rank_file(written["hdf5"], rank).items()
        }
        assert not differences(held, read_rank(written["safetensors"], rank))


@pytest.mark.parametrize("dtype", SEEN_AS)
def test_h5py_sees_the_type_and_its_values(written, dtype):
    name = f"{layer_of(dtype)}.self_attn.q_proj.weight"
    raw = read_rank(written["safetensors"], 1)[name].array
    with h5py.File(written["hdf5"] / "model-rank-1-part-0.h5") as file:
        dataset = file[name]
        assert dataset.attrs["dtype"] in (dtype, dtype.encode())
        assert dataset.dtype == SEEN_AS[dtype]
        values = dataset[...]
    expected = raw.view(VALUES_OF.get(dtype, SEEN_AS[dtype])).astype(SEEN_AS[dtype])
    same = (
        (values == expected) | (np.isnan(values) & np.isnan(expected))
        if np.issubdtype(values.dtype, np.floating)
        else values == expected
    )
    assert same.all()


def test_attributes_tell_the_cut(written):
    for rank in range(RANKS):
        stored = read_rank_file(written["hdf5"], rank)
        for dtype in SEEN_AS:
            tensor = stored[f"{layer_of(dtype)}.self_attn.o_proj.weight"]
            assert list(tensor.attributes["global_shape"]) == [50, 64]
            assert list(tensor.attributes["local_shape"]) == list(tensor.raw.shape) == [50, [22, 22, 20][rank]]
            assert text(tensor.attributes["placement"]) == "shard 1"
            assert text(stored[f"{layer_of(dtype)}.input_layernorm.weight"].attributes["placement"]) == "replicate"


def test_the_file_tells_its_rank_and_source(written):
    manifest = json.loads((written["hdf5"] / "shardwise.json").read_text())
    assert manifest["format"] == "hdf5"
    for rank, name in enumerate(manifest["files"]):
        with h5py.File(written["hdf5"] / name) as file:
            assert text(file.attrs["schema"]) == "shardwise.rank/1"
            assert list(file.attrs["rank_world"]) == [rank, RANKS]
            assert text(file.attrs["source_digest"]) == manifest["source_digest"]


def test_data_lies_contiguous_and_aligned_for_direct_reads(written):
    raw_file = (written["hdf5"] / "model-rank-0-part-0.h5").read_bytes()
    for name, stored in read_rank_file(written["hdf5"], 0).items():
        if stored.raw.nbytes >= ALIGNED_FROM:
            assert stored.offset % ALIGNMENT == 0, name
        if stored.raw.nbytes > 0:
            assert raw_file[stored.offset : stored.offset + stored.raw.nbytes] == stored.raw.tobytes(), name


def test_h5dump_reads_the_file(written):
    if shutil.which("h5dump") is None:
        pytest.skip("there is no h5dump here (Debian: hdf5-tools)")
    name = f"{layer_of('I32')}.input_layernorm.weight"
    dump = subprocess.run(
        ["h5dump", "-d", name, "-w", "0", str(written["hdf5"] / "model-rank-2-part-0.h5")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "H5T_STD_I32LE" in dump and 'ATTRIBUTE "placement"' in dump
    for value in read_rank(written["safetensors"], 2)[name].array.view(np.int32):
        assert str(value) in dump


def test_verify_compares_hdf5_files_of_every_type(shardwise, types, written):
    result = shardwise.run("verify", types, written["hdf5"])
    assert result.returncode == 0, result.stdout + result.stderr
    assert "80 of 80 tensors are the same" in result.stdout


def test_a_machine_whose_hdf5_cannot_be_loaded_is_told_before_anything_is_read(shardwise, types, tmp_path):
    said = shardwise.check("load", types, "--format=hdf5", f"--out={tmp_path / 'found'}", env={"LD_DEBUG": "libs"})
    name = re.search(r"find library=(libhdf5\S*)", said.stderr)[1]
    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries" / name).write_text("not a library")
    env = {**HASTY_LAUNCHER, "LD_LIBRARY_PATH": str(tmp_path / "libraries")}
    out = tmp_path / "out"
    result = shardwise.run("load", types, "--format=hdf5", f"--out={out}", ranks=2, env=env)
    assert_refused(result, UNAVAILABLE, ["--format hdf5", name])
    assert_nothing_under_a_final_name(out)
    # Who does not ask for it does not need it.
    shardwise.check("load", types, f"--out={out}", ranks=2, env=env)
