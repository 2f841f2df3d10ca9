"""bench/gpu_check and launch/bundle without a GPU: what can be checked is, the rest is skipped with its reason."""

import json
import subprocess

import pytest
from conftest import BIN, SOURCE, environment

GPU_CHECK = SOURCE / "bench/gpu_check"
BUNDLE = SOURCE / "launch/bundle"


def run(*command):
    return subprocess.run(list(map(str, command)), env=environment(), capture_output=True, text=True, timeout=120)


def test_what_needs_a_gpu_is_skipped_with_the_reason(tmp_path):
    table = tmp_path / "table.json"
    result = run(GPU_CHECK, f"--build={BIN.parent}", "--only=load*", f"--json={table}")
    assert result.returncode == 0, result.stdout + result.stderr
    rows = {row["check"]: row for row in json.loads(table.read_text())}
    assert rows["load on the host"]["outcome"] == "ok"
    if rows["load, 1 rank"]["outcome"] == "ok":
        pytest.skip("there is a GPU")
    skipped = [row for name, row in rows.items() if name != "load on the host"]
    assert len(skipped) == 5
    for row in skipped:
        assert row["outcome"] == "skipped" and "GPU" in row["figure"], row
    assert "1 ok, 0 failed, 5 skipped" in result.stdout


def test_a_check_that_fails_is_told_and_the_others_go_on(tmp_path):
    broken = tmp_path / "bin"
    broken.mkdir()
    for name in ("shardwise", "make_checkpoint"):
        (broken / name).write_text('#!/bin/sh\necho "shardwise: broken on purpose" >&2; exit 4\n')
        (broken / name).chmod(0o755)
    result = run(GPU_CHECK, f"--build={tmp_path}", "--only=load*")
    assert result.returncode == 1
    assert result.stdout.count("FAILED") == 6 and "broken on purpose" in result.stdout


def test_a_check_without_time_is_skipped():
    result = run(GPU_CHECK, f"--build={BIN.parent}", "--only=load on the host", "--limit=1")
    assert result.returncode == 0 and "no time is left" in result.stdout


@pytest.mark.parametrize(
    "arguments,words",
    [
        (["--limit", "much"], "expected a number of MiB"),
        (["--out"], "--out wants a value"),
        (["--outt"], "unknown argument --outt"),
    ],
)
def test_bundle_refuses(arguments, words):
    result = run(BUNDLE, *arguments)
    assert result.returncode == 2 and words in result.stderr


def test_kernels_are_checked_also_without_a_gpu():
    program = BIN / "kernel_speed"
    if not program.exists():
        pytest.skip("this build has no GPU back ends")
    result = run(program, "--verify-only")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(": right") == 15
    if "emulated" in result.stdout:
        result = run(program)
        assert result.returncode == 7 and "GPU" in result.stderr


def test_bundle_explains_itself():
    result = run(BUNDLE, "--help")
    assert result.returncode == 0 and "gpu_check" in result.stdout
