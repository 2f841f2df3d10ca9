"""A machine is measured, and loads of any size are predicted from the figures."""

import json

import numpy as np
import pytest

from checkpoints import Tensor, write_checkpoint
from refusal import INPUT, IO, USAGE, assert_refused

FIGURES = [
    "read_bytes_per_second", "cached_bytes_per_second", "exchange_bytes_per_second", "network_bytes_per_second",
]  # fmt: skip


@pytest.fixture(scope="module")
def large_enough(tmp_path_factory):
    """Two matrices of 4 MiB in a file each."""
    folder = tmp_path_factory.mktemp("calibrate")
    matrix = Tensor("BF16", np.arange(2 << 20, dtype=np.uint32).astype(np.uint16).reshape(1024, 2048))
    files = {f"model-{i}.safetensors": {f"model.layers.{i}.mlp.down_proj.weight": matrix} for i in range(2)}
    write_checkpoint(folder, {"model_type": "llama"}, files)
    return folder


def calibrated(shardwise, folder, path, ranks):
    result = shardwise.run("calibrate", folder, f"--out={path}", ranks=ranks)
    assert result.returncode == 0, result.stderr
    return json.loads(path.read_text())


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_machine_is_measured(shardwise, large_enough, tmp_path, ranks):
    profile = calibrated(shardwise, large_enough, tmp_path / "machine.json", ranks)
    assert profile["schema"] == "shardwise.profile/1"
    assert profile["ranks_per_node"] == ranks
    for figure in FIGURES:
        # No machine is slower than a floppy disk or faster than all memory of a node.
        assert 1e6 < profile[figure] < 1e13, figure
    assert 0 <= profile["request_seconds"] < 1
    assert 0 <= profile["step_seconds"] < 1


def test_what_was_measured_can_be_loaded_and_planned_with(shardwise, large_enough, tmp_path):
    path = tmp_path / "machine.json"
    calibrated(shardwise, large_enough, path, 2)
    loaded = shardwise.run("load", large_enough, f"--profile={path}", ranks=2)
    assert loaded.returncode == 0, loaded.stderr
    arguments = ["plan", large_enough, "--tp=2", f"--profile={path}", "--simulate=2", "--simulate=64", "--json"]
    planned = shardwise.run(*arguments, "--ranks-per-node=4", "--strategy=cooperative", "--assume=cold")
    assert planned.returncode == 0, planned.stderr
    report = json.loads(planned.stdout)
    assert report["schema"] == "shardwise.simulation/1"
    assert report["profile"] == json.loads(path.read_text())
    small, large = report["loads"]
    assert (small["ranks"], small["nodes"], large["ranks"], large["nodes"]) == (2, 1, 64, 16)
    # Two matrices of 4 MiB are read once, however many ranks there are; each node takes what it did not read.
    assert small["storage_bytes"] == large["storage_bytes"] == 2 * 1024 * 2048 * 2
    assert small["node_received_bytes"] == 0
    assert 4 << 20 <= large["node_received_bytes"] <= 2 * (8 << 20)
    assert all(load["seconds"] > 0 for load in report["loads"])


def test_people_get_a_line_a_load(shardwise, large_enough):
    result = shardwise.run("plan", large_enough, "--tp=2", "--simulate=2", "--simulate=4096", "--profile=parallel-fs")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "parallel-fs" in lines[0]
    assert [line.split()[:2] for line in lines[2:4]] == [["2", "1"], ["4096", "512"]]


def test_the_profile_goes_to_standard_output_if_no_file_is_named(shardwise, large_enough):
    result = shardwise.run("calibrate", large_enough)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["schema"] == "shardwise.profile/1"
    assert "network" in result.stderr


@pytest.mark.parametrize(
    "arguments,status,words",
    [
        (["--profile=nvmee"], USAGE, ["'nvmee'", "did you mean nvme?"]),
        (["--profile=absent/machine.json"], IO, ["absent/machine.json"]),
        (["--simulate=3"], USAGE, ["--simulate 3", "multiple of 2"]),
        (["--simulate=4", "--dp=2"], USAGE, ["--simulate", "--dp"]),
        (["--ranks-per-node=4"], USAGE, ["--ranks-per-node", "--simulate"]),
    ],
)
def test_predictions_that_make_no_sense_are_refused(shardwise, large_enough, arguments, status, words):
    assert_refused(shardwise.run("plan", large_enough, "--tp=2", *arguments), status, words)


def test_a_checkpoint_too_small_to_measure_with_is_refused(shardwise, tiny):
    assert_refused(shardwise.run("calibrate", tiny, ranks=2), INPUT, ["2.00 MiB", "too little"])
