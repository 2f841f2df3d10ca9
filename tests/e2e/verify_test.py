"""shardwise verify: equal whatever the cut, different down to one bit, and which tensor it is."""

import json
import shutil

import pytest

from checkpoints import Tensor, read_file, write_file
from conftest import make_checkpoint
from refusal import INPUT, assert_refused

THIRD = "model-00003-of-00004.safetensors"


@pytest.fixture(scope="module")
def shards(shardwise, tmp_path_factory):
    """A checkpoint whose files hold what the model holds, and rank files of it in several cuts."""
    folder = tmp_path_factory.mktemp("verify")
    make_checkpoint(folder / "checkpoint", arch="llama", intermediate=97, vocab=101)
    for name, ranks, options in [
        ("tp1", 1, []),
        ("tp3", 3, []),
        ("tp2dp2", 4, ["--dp=2"]),
        ("kv4", 4, ["--kv-heads=replicate"]),
        ("hdf5", 3, ["--format=hdf5"]),
    ]:
        shardwise.check("load", folder / "checkpoint", f"--out={folder / name}", *options, ranks=ranks)
    return folder


SAME = ["checkpoint checkpoint", "checkpoint tp3", "tp3 tp1", "tp2dp2 kv4", "checkpoint hdf5", "hdf5 kv4"]


@pytest.mark.parametrize("a,b", [pair.split() for pair in SAME])
def test_the_same_tensors_in_any_cut_are_equal(shardwise, shards, a, b):
    result = shardwise.run("verify", shards / a, shards / b)
    assert (result.returncode, result.stdout) == (0, "21 of 21 tensors are the same\n"), result.stderr


def changed_copy(source, target, file, change):
    """A copy of a folder in which change(tensors) was done to one file."""
    shutil.copytree(source, target)
    tensors = read_file(target / file)
    change(tensors)
    write_file(target / file, tensors)
    return target


def flip_bit(name):
    def change(tensors):
        array = tensors[name].array.copy()
        array.flat[array.size // 2] ^= 1
        tensors[name] = Tensor(tensors[name].dtype, array)

    return change


def swap_rows(name):
    def change(tensors):
        array = tensors[name].array.copy()
        array[[0, 1]] = array[[1, 0]]
        tensors[name] = Tensor(tensors[name].dtype, array)

    return change


def retype(name):
    def change(tensors):
        tensors[name] = Tensor("F16", tensors[name].array)

    return change


NAME = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize(
    "change,words",
    [
        (flip_bit(NAME), "values differ"),
        (swap_rows(NAME), "values differ"),
        (retype(NAME), "BF16 [97, 64] and F16 [97, 64]"),
    ],
    ids=["one bit", "two rows swapped", "another type"],
)
@pytest.mark.parametrize("other", ["checkpoint", "tp3"])
def test_a_tensor_that_differs_is_named(shardwise, shards, tmp_path, other, change, words):
    copy = changed_copy(shards / "checkpoint", tmp_path / "copy", THIRD, change)
    result = shardwise.run("verify", shards / other, copy)
    first, last = result.stdout.splitlines()
    assert result.returncode == INPUT
    assert NAME in first and words in first
    assert last == "20 of 21 tensors are the same"


def test_a_bit_that_flipped_in_a_rank_file_is_found(shardwise, shards, tmp_path):
    copy = changed_copy(shards / "tp3", tmp_path / "copy", "model-rank-2-part-0.safetensors", flip_bit(NAME))
    result = shardwise.run("verify", shards / "checkpoint", copy)
    assert result.returncode == INPUT and NAME in result.stdout


def test_a_bit_that_flipped_in_an_hdf5_rank_file_is_found(shardwise, shards, tmp_path):
    h5py = pytest.importorskip("h5py")
    shutil.copytree(shards / "hdf5", tmp_path / "copy")
    with h5py.File(tmp_path / "copy" / "model-rank-2-part-0.h5", "r+") as file:
        file[NAME][0, 0] = -file[NAME][0, 0]
    result = shardwise.run("verify", shards / "checkpoint", tmp_path / "copy")
    assert result.returncode == INPUT and NAME in result.stdout


def test_an_hdf5_dataset_of_another_shape_is_refused(shardwise, shards, tmp_path):
    h5py = pytest.importorskip("h5py")
    shutil.copytree(shards / "hdf5", tmp_path / "copy")
    with h5py.File(tmp_path / "copy" / "model-rank-0-part-0.h5", "r+") as file:
        file[NAME].attrs["local_shape"] = [1, 64]
    words = ["model-rank-0-part-0.h5", NAME, "[1, 64]"]
    assert_refused(shardwise.run("verify", shards / "checkpoint", tmp_path / "copy"), INPUT, words)


def test_copies_of_a_data_parallel_job_must_agree(shardwise, shards, tmp_path):
    copy = changed_copy(shards / "tp2dp2", tmp_path / "copy", "model-rank-3-part-0.safetensors", flip_bit(NAME))
    assert_refused(shardwise.run("verify", shards / "checkpoint", copy), INPUT, [NAME, "rank 3", "different values"])


def test_tensors_that_one_side_lacks_are_named(shardwise, shards, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(shards / "checkpoint", copy)
    index = json.loads((copy / "model.safetensors.index.json").read_text())
    del index["weight_map"][NAME]
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    for a, b, side in (
        (shards / "checkpoint", copy, "only in the first"),
        (copy, shards / "checkpoint", "only in the second"),
    ):
        result = shardwise.run("verify", a, b)
        assert result.returncode == INPUT
        assert f"{NAME}: {side}" in result.stdout


def test_a_folder_without_all_its_rank_files_is_refused(shardwise, shards, tmp_path):
    shutil.copytree(shards / "tp3", tmp_path / "copy")
    (tmp_path / "copy" / "model-rank-1-part-0.safetensors").unlink()
    result = shardwise.run("verify", shards / "checkpoint", tmp_path / "copy")
    assert result.returncode != 0 and "model-rank-1-part-0.safetensors" in result.stderr
