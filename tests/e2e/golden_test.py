"""Models made with transformers: every rank holds, bit for bit, what the framework's own ranks hold."""

import importlib
import json
import shutil
import sys

import pytest

from checkpoints import Tensor, differences, read_rank
from conftest import SHARED
from hdf5_files import read_rank_file

GOLDEN = SHARED / "golden"
WORLDS = (1, 2, 3, 4)


def plans_of(model):
    return json.loads((model / "plan.json").read_text())["plans"]


def cases():
    """(model, plan, tp); one rank holds the same by any plan, whole experts go to ranks that divide their number."""
    if not GOLDEN.is_dir():
        return [("absent", "tp", 1)]
    models = sorted(path.parent for path in GOLDEN.glob("*/plan.json"))
    return [
        (model.name, plan, tp)
        for model in models
        for plan in plans_of(model)
        for tp in WORLDS
        if plan == "tp" or (tp > 1 and (plan, tp) != ("ep", 3))
    ]


@pytest.fixture(scope="module")
def compare(golden):
    """compare.py's main as a function of its arguments: (status, output)."""
    sys.path.insert(0, str(golden))
    module = importlib.import_module("compare")

    def run(capsys, monkeypatch, *arguments):
        monkeypatch.setattr(sys, "argv", ["compare.py", *map(str, arguments)])
        status = module.main()
        return status, capsys.readouterr().out

    yield run
    sys.path.remove(str(golden))


@pytest.mark.parametrize("model,plan,tp", cases())
def test_ranks_hold_what_the_frameworks_ranks_hold(
    shardwise, golden, compare, capsys, monkeypatch, tmp_path, model, plan, tp
):
    shardwise.check("load", golden / model / "ckpt", f"--plan={plan}", f"--out={tmp_path}", ranks=tp)
    status, output = compare(capsys, monkeypatch, tmp_path, golden / model, "--tp", tp, "--plan", plan)
    assert status == 0, output


@pytest.mark.parametrize("model,plan,tp", cases())
def test_a_checkpoint_saved_after_conversion_loads_the_same(
    shardwise, golden, compare, capsys, monkeypatch, tmp_path, model, plan, tp
):
    saved = tmp_path / "saved"
    saved.mkdir()
    shutil.copy(golden / model / "ckpt/config.json", saved)
    shutil.copy(golden / model / "full.safetensors", saved / "model.safetensors")
    shardwise.check("load", saved, f"--plan={plan}", "--strict", f"--out={tmp_path / 'out'}", ranks=tp)
    status, output = compare(capsys, monkeypatch, tmp_path / "out", golden / model, "--tp", tp, "--plan", plan)
    assert status == 0, output


@pytest.mark.parametrize(
    "model,options",
    [
        ("mixtral", ["--strategy=cooperative", "--files-at-once=4"]),
        ("llama_tied", []),
        ("phi3", ["--strategy=cooperative", "--transport=mpi"]),
    ],
    ids=["mixtral", "llama_tied", "phi3"],
)
def test_data_parallel_copies_are_the_same(shardwise, golden, compare, capsys, monkeypatch, tmp_path, model, options):
    shardwise.check("load", golden / model / "ckpt", "--tp=2", "--dp=2", f"--out={tmp_path}", *options, ranks=4)
    status, output = compare(capsys, monkeypatch, tmp_path, golden / model, "--tp", 2, "--dp", 2)
    assert status == 0, output


@pytest.mark.parametrize(
    "model,plan,tp", [("llama", "tp", 3), ("gpt_oss", "ep", 2), ("phi3", "packed", 2), ("qwen3_moe", "tp", 4)]
)
def test_hdf5_rank_files_hold_the_same_bytes(
    shardwise, golden, compare, capsys, monkeypatch, tmp_path, model, plan, tp
):
    for format in ("safetensors", "hdf5"):
        shardwise.check(
            "load",
            golden / model / "ckpt",
            f"--plan={plan}",
            f"--out={tmp_path / format}",
            f"--format={format}",
            ranks=tp,
        )
    status, output = compare(capsys, monkeypatch, tmp_path / "safetensors", golden / model, "--tp", tp, "--plan", plan)
    assert status == 0, output
    for rank in range(tp):
        held = {
            name: Tensor(stored.dtype, stored.raw) for name, stored in read_rank_file(tmp_path / "hdf5", rank).items()
        }
        wrong = differences(held, read_rank(tmp_path / "safetensors", rank))
        assert not wrong, f"rank {rank}: " + "; ".join(wrong)
