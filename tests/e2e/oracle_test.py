"""Tiny models of many architectures, made and loaded by transformers itself: every rank holds what the framework's
ranks hold, bit for bit. Where the framework is known to load wrong values in parallel, the model as one process loads
it, cut where the framework says that the pieces lie.

Runs with `launch/test --oracle`, which installs transformers and torch."""

import json
import os
import pathlib
import re
import subprocess

import pytest

from checkpoints import Tensor, differences, read_file, read_rank
from conftest import SOURCE
from reference import ceil_piece, packed_piece

PYTHON = os.environ.get("SHARDWISE_ORACLE_PYTHON")
RANKS = 2
MODEL_TYPES = (
    "llama", "mistral", "qwen2", "qwen3", "gemma2", "phi3", "mixtral", "qwen2_moe", "qwen3_moe", "olmoe",
)
# Every rank would hold other values than the converted model has there, without a word (see the README).
WRONG_IN_THE_FRAMEWORK = ("hrm_text",)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder for each model type; see tests/oracle/reference.py."""
    if not PYTHON:
        pytest.skip("launch/test --oracle installs transformers and runs this")
    out = tmp_path_factory.mktemp("oracle")
    command = [PYTHON, SOURCE / "tests/oracle/reference.py", out, *MODEL_TYPES]
    quiet = {**os.environ, "TRANSFORMERS_VERBOSITY": "error", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=quiet)
    assert done.returncode == 0, done.stderr
    return out


def cut(array, placements, rank):
    """The rank's piece by the framework's own description of where it lies."""
    for placement in placements:
        strided = re.fullmatch(r"_StridedShard\(dim=(-?\d+), sf=(\d+)\)", placement)
        plain = re.fullmatch(r"Shard\(dim=(-?\d+)\)", placement)
        if strided:
            dim, blocks = int(strided[1]) % array.ndim, int(strided[2])
            array = packed_piece(array, dim, [array.shape[dim] // blocks] * blocks, rank, RANKS)
        elif plain:
            array = ceil_piece(array, int(plain[1]) % array.ndim, rank, RANKS)
        else:
            assert placement == "Replicate()"
    return array


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_ranks_hold_what_the_frameworks_ranks_hold(made, shardwise, tmp_path, model_type):
    folder = made / model_type
    whole = read_file(folder / "full.safetensors")
    placements = json.loads((folder / "placements.json").read_text())
    shardwise.check("load", folder / "ckpt", f"--out={tmp_path}", ranks=RANKS)
    agrees = True
    for rank in range(RANKS):
        expected = {name: Tensor(dtype, cut(array, placements.get(name, []), rank))
                    for name, (dtype, array) in whole.items()}
        assert differences(read_rank(tmp_path, rank), expected) == []
        agrees = agrees and differences(read_file(folder / f"rank-{rank}.safetensors"), expected) == []
    assert agrees == (model_type not in WRONG_IN_THE_FRAMEWORK)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_one_process_holds_the_model_as_the_framework_does(made, shardwise, tmp_path, model_type):
    shardwise.check("load", made / model_type / "ckpt", f"--out={tmp_path}", ranks=1)
    assert differences(read_rank(tmp_path, 0), read_file(made / model_type / "full.safetensors")) == []
