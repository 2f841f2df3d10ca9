"""The launch scripts: what they start, with what environment, and how they refuse."""
import os
import stat
import subprocess

import pytest
from conftest import BIN, MPI_ENVIRONMENT, SOURCE

RANKS = SOURCE / "launch/ranks"


def launch(*arguments, **env):
    environment = {**os.environ, **MPI_ENVIRONMENT, **env}
    return subprocess.run(list(map(str, arguments)), env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def echo_as(tmp_path):
    """Puts a program of that name first on the PATH that prints its arguments, one a line."""

    def make(name):
        program = tmp_path / name
        program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    return make


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_ranks_starts_so_many_ranks_also_beyond_the_cores(ranks):
    result = launch(RANKS, "-n", ranks, "sh", "-c", "echo here")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["here"] * ranks


def test_ranks_passes_on_the_status_and_arguments_with_spaces():
    assert launch(RANKS, "-n", 1, "sh", "-c", 'test "$1" = "a b" && exit 3', "sh", "a b").returncode == 3


def test_ranks_binds_to_hosts_and_carries_the_environment(echo_as):
    result = launch(RANKS, "--hosts", "a:4,b:4", "--env", "FOO", "program", "--json", **echo_as("mpirun"))
    words = result.stdout.split("\n")
    assert words[words.index("--host") + 1] == "a:4,b:4"
    assert words[words.index("--bind-to") + 1] == "numa"
    assert words[words.index("-x") + 1] == "FOO"
    assert "-n" not in words  # as many as the hosts take
    assert words[-4:] == ["--", "program", "--json", ""]


@pytest.mark.parametrize("arguments, complaint", [
    (["--bind", "socket", "true"], "expected numa, core or none"),
    (["-n", "two", "true"], "expected a number of ranks"),
    (["-n"], "wants a value"),
    (["--hots", "a", "true"], "unknown option --hots"),
    ([], "usage:"),
])
def test_ranks_refuses(arguments, complaint):
    result = launch(RANKS, *arguments)
    assert result.returncode == 2
    assert complaint in result.stderr


def test_the_batch_script_starts_load_with_all_options(echo_as):
    result = launch(SOURCE / "launch/slurm.sbatch", "/models/llama", "--tp", 8, "--out", "/scratch/a b",
                    BIN=str(BIN / "shardwise"), **echo_as("srun"))
    assert result.returncode == 0, result.stderr
    words = result.stdout.split("\n")
    assert "--kill-on-bad-exit=1" in words
    start = words.index(str(BIN / "shardwise"))
    assert words[start + 1:-1] == ["load", "/models/llama", "--tp", "8", "--out", "/scratch/a b"]


def test_the_batch_script_says_what_is_missing(echo_as):
    assert "usage: sbatch" in launch(SOURCE / "launch/slurm.sbatch").stderr
    missing = launch(SOURCE / "launch/slurm.sbatch", "/models/llama", BIN="/nonexistent/shardwise", **echo_as("srun"))
    assert missing.returncode == 2 and "no program at /nonexistent/shardwise" in missing.stderr
