"""Where checkpoints lie in practice: hub caches made of links, single files, folders with more than the model."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from checkpoints import differences, random_tensor, read_file, read_folder, read_rank, write_file
from conftest import make_checkpoint
from reference import expected_rank
from refusal import INPUT, assert_refused, load

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def generator():
    return np.random.default_rng(3)


def assert_ranks_hold_all(shardwise, path, source, out, *options):
    """Loads path into two ranks; they must hold what the reference cuts from source."""
    shardwise.check("load", path, f"--out={out}", *options, ranks=2)
    config = json.loads((source / "config.json").read_text())
    for rank in range(2):
        assert not differences(read_rank(out, rank), expected_rank(config, read_folder(source), rank, 2))


@pytest.fixture
def cache(tiny, tmp_path):
    """The layout of a hub cache: blobs by digest, a snapshot of links to them, a ref that names the snapshot."""
    root = tmp_path / "models--someone--llama"
    snapshot = root / "snapshots" / REVISION
    for folder in (root / "blobs", root / "refs", snapshot):
        folder.mkdir(parents=True)
    for path in tiny.iterdir():
        blob = hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copyfile(path, root / "blobs" / blob)
        (snapshot / path.name).symlink_to(f"../../blobs/{blob}")
    (root / "refs" / "main").write_text(REVISION)
    return root


@pytest.mark.parametrize(
    "below",
    ["", f"snapshots/{REVISION}", f"snapshots/{REVISION}/model.safetensors.index.json"],
    ids=["cache", "snapshot", "index"],
)
def test_a_hub_cache_of_links_loads(shardwise, tiny, cache, tmp_path, below):
    assert_ranks_hold_all(shardwise, cache / below, tiny, tmp_path / "out")


def test_an_unfinished_download_is_refused(shardwise, cache):
    """The link stands, what it points to does not."""
    (cache / "snapshots" / REVISION / "model-00003-of-00004.safetensors").resolve().unlink()
    assert_refused(load(shardwise, cache), INPUT, ["model-00003-of-00004.safetensors", "not there"])


def test_a_ref_to_an_absent_snapshot_is_refused(shardwise, cache):
    (cache / "refs" / "main").write_text("f" * 40)
    assert_refused(load(shardwise, cache), INPUT, ["refs/main", "f" * 40])


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("single") / "llama", files=1)


@pytest.mark.parametrize("name", ["", "model.safetensors"], ids=["folder", "file"])
def test_a_single_file_needs_no_index(shardwise, single, tmp_path, name):
    assert_ranks_hold_all(shardwise, single / name, single, tmp_path / "out")


def test_files_of_other_tools_beside_the_model_are_left_alone(shardwise, tiny, tmp_path, generator):
    """Training state, a consolidated copy of another revision, drafts: with an index only its files count."""
    folder = shutil.copytree(tiny, tmp_path / "checkpoint")
    stale = {
        name: random_tensor(generator, tensor.dtype, *tensor.array.shape) for name, tensor in read_folder(tiny).items()
    }
    for name in ("consolidated.safetensors", "optimizer.safetensors", ".model.tmp.safetensors"):
        write_file(folder / name, stale)
    assert_ranks_hold_all(shardwise, folder, tiny, tmp_path / "out")


def test_training_state_is_no_part_of_a_checkpoint_without_index(shardwise, tiny, tmp_path, generator):
    folder = shutil.copytree(tiny, tmp_path / "checkpoint")
    (folder / "model.safetensors.index.json").unlink()
    write_file(folder / "optimizer.safetensors", {"exp_avg": random_tensor(generator, "F32", 8)})
    assert_ranks_hold_all(shardwise, folder, tiny, tmp_path / "out")


def test_tensors_that_the_index_does_not_list_are_left_out_with_a_warning(shardwise, tiny, tmp_path, generator):
    folder = shutil.copytree(tiny, tmp_path / "checkpoint")
    file = folder / "model-00002-of-00004.safetensors"
    write_file(file, {**read_file(file), "model.stray": random_tensor(generator, "F32", 8)})
    result = shardwise.check("load", folder, f"--out={tmp_path / 'out'}", ranks=2)
    assert (
        "shardwise: warning: 1 tensor(s) stand in files but not in" in result.stderr and "model.stray" in result.stderr
    )
    assert "model.stray" not in read_rank(tmp_path / "out", 0)


CHOICES = [
    (["--include=*.self_attn.*"], lambda name: ".self_attn." in name),
    (
        ["--include=model.norm.weight", "--include=lm_head.*"],
        lambda name: name in ("model.norm.weight", "lm_head.weight"),
    ),
    (
        ["--exclude=*.mlp.*", "--exclude=model.embed_tokens.*"],
        lambda name: ".mlp." not in name and "embed_tokens" not in name,
    ),
    (
        ["--include=model.layers.1.*", "--exclude=*norm*"],
        lambda name: name.startswith("model.layers.1.") and "norm" not in name,
    ),
]


@pytest.mark.parametrize(
    "options,is_chosen", CHOICES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_only_chosen_parameters_are_loaded_and_read(shardwise, tiny, tmp_path, options, is_chosen):
    shardwise.check(
        "load",
        tiny,
        f"--out={tmp_path / 'out'}",
        f"--stats={tmp_path / 'stats'}",
        "--strategy=cooperative",
        *options,
        ranks=2,
    )
    config = json.loads((tiny / "config.json").read_text())
    for rank in range(2):
        expected = {
            name: tensor
            for name, tensor in expected_rank(config, read_folder(tiny), rank, 2).items()
            if is_chosen(name)
        }
        assert expected and not differences(read_rank(tmp_path / "out", rank), expected)
    needed = sum(tensor.array.nbytes for name, tensor in read_folder(tiny).items() if is_chosen(name))
    assert json.loads((tmp_path / "stats").read_text())["needed_once_bytes"] == needed
